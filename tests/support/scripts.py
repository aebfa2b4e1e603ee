"""Running the commands of the example scripts in this process."""

STORY = "1 Ada ran to the attic.\n2 Ben ran to the studio.\n3 Where is Ada? \tattic\t1\n"


def run(main, capsys, *arguments):
    """The exit status, the output and the error lines of a command."""
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as leave:
        status = leave.code
    output, errors = capsys.readouterr()
    return status, output, errors.splitlines()


def written(folder, text, name="story.txt"):
    """A file with a text."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
