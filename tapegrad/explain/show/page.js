"use strict";
// The page holds all values as text already; this shows them one step at a time.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const frames = [
  { said: "The tape is empty. Step forward with the button or the right arrow key." },
  ...data.records.map((line) => ({ kind: "forward", line, said: `Forward: line ${line} is written.` })),
  ...data.events,
];
const edges = [...document.querySelectorAll("#edges path")];
let now = 0;
let open = null; // the frame whose prediction is asked for

function text(parent, tag, words, className) {
  const element = document.createElement(tag);
  element.textContent = words;
  if (className) element.className = className;
  parent.append(element);
  return element;
}

// What is opened stays open while the value stays.
function fill(cell, value) {
  const key = value ? value.full ?? value.brief : "";
  if (cell.shown === key) return;
  cell.shown = key;
  if (!value?.full) {
    cell.textContent = value?.brief ?? "";
    return;
  }
  const details = document.createElement("details");
  text(details, "summary", value.brief);
  text(details, "pre", value.full);
  if (value.heat) {
    details.dataset.heat = value.heat;
    drawWhenOpened(details);
  }
  cell.replaceChildren(details);
}

function render() {
  const seen = new Set(), cotangents = new Map(), gradients = new Map(), flows = new Map();
  for (const frame of frames.slice(1, now + 1)) {
    if (frame.kind === "forward") seen.add(frame.line);
    if (frame.kind === "seed") cotangents.set(frame.line, frame.cotangent);
    if (frame.kind === "sum") cotangents.set(frame.to, frame.running);
    if (frame.kind === "gradient") gradients.set(frame.line, frame.cotangent);
    if (frame.kind === "rule" || frame.kind === "sum") flows.set(`edge-${frame.line}-${frame.position}`, "done");
  }
  const frame = frames[now];
  const flowing = `edge-${frame.line}-${frame.position}`;
  if (flows.has(flowing)) flows.set(flowing, "flow");
  for (const line of data.records) {
    const row = at(`line-${line}`), node = at(`node-${line}`);
    for (const element of [row, node]) {
      if (!element) continue;
      element.classList.toggle("unseen", !seen.has(line));
      element.classList.toggle("now", frame.line === line);
      element.classList.toggle("touched", frame.to === line);
    }
    if (frame.line === line) row.setAttribute("aria-current", "step");
    else row.removeAttribute("aria-current");
    fill(row.querySelector(".cotangent"), data.values[cotangents.get(line)]);
  }
  for (const edge of edges) {
    const flow = flows.get(edge.id) ?? "";
    if (edge.getAttribute("class") === flow) continue;
    edge.setAttribute("class", flow);
    // lines share trunks: those that carry a cotangent lie above the others
    if (flow) edge.parentElement.append(edge);
    else edge.parentElement.prepend(edge);
  }
  document.getElementById(flowing)?.parentElement.append(document.getElementById(flowing));
  for (const row of document.querySelectorAll("#mapping tbody tr")) {
    const gradient = data.values[gradients.get(Number(row.dataset.line))];
    fill(row.lastElementChild, gradient ?? (now === frames.length - 1 ? { brief: row.dataset.zero } : undefined));
  }
  const said = at("said");
  said.replaceChildren();
  text(said, "span", frame.said);
  for (const part of frame.parts ?? []) {
    said.append(document.createElement("br"));
    text(said, "span", part, "mono");
  }
  at("place").textContent = `step ${now} of ${frames.length - 1}`;
  at("back").disabled = at("first").disabled = now === 0;
  at("forward").disabled = at("last").disabled = now === frames.length - 1;
  keepInView(at(`line-${frame.line}`));
  keepInView(at(`node-${frame.line}`));
  keepInView(document.querySelector(`#mapping tr[data-line="${frame.line}"]`));
}

// Scrolls the boxes alone: the page stays where the reader left it.
function keepInView(element) {
  const box = element?.closest(".wide");
  if (!box) return;
  const a = element.getBoundingClientRect(), b = box.getBoundingClientRect();
  if (a.top < b.top + 40 || a.bottom > b.bottom) box.scrollTop += a.top - b.top - b.height / 2;
  if (element.tagName !== "TR" && (a.left < b.left || a.right > b.right)) box.scrollLeft += a.left - b.left - b.width / 2;
}

function go(to) {
  to = Math.max(0, Math.min(frames.length - 1, to));
  if (to === now + 1 && at("first-guess").checked && frames[to].choices && open !== to) {
    ask(to);
    return;
  }
  open = null;
  at("predict").hidden = true;
  now = to;
  render();
}

// --- predictions ---------------------------------------------------------------------------

function ask(to) {
  const frame = frames[to], fields = at("answers");
  open = to;
  at("judged").textContent = "";
  at("question").textContent = frame.question;
  fields.replaceChildren();
  if (frame.number) {
    const label = text(fields, "label", "A number: ");
    const input = document.createElement("input");
    input.name = "answer"; input.inputMode = "decimal"; input.autocomplete = "off"; input.required = true;
    label.append(input);
  } else {
    frame.choices.forEach((choice, i) => {
      const label = document.createElement("label"), input = document.createElement("input");
      input.type = "radio"; input.name = "answer"; input.value = String(i); input.required = true;
      label.append(input, " ");
      text(label, "span", choice.text, "mono");
      fields.append(label);
    });
  }
  at("predict").hidden = false;
  fields.querySelector("input").focus();
}

function close(a, b) {
  return Math.abs(a - b) <= 1e-3 * Math.max(1, Math.abs(b)) || Object.is(a, b);
}

function judge(frame, answer) {
  if (!frame.number) return frame.choices[Number(answer)];
  const given = Number(answer.replace(",", "."));
  const right = frame.choices.find((choice) => choice.right);
  if (close(given, right.number)) return right;
  return frame.choices.find((choice) => close(given, choice.number)) ??
    { right: false, why: `Put the numbers into the rule: ${frame.rule}.` };
}

at("predict").addEventListener("submit", (event) => {
  event.preventDefault();
  const choice = judge(frames[open], new FormData(event.target).get("answer") ?? "");
  const judged = at("judged");
  judged.className = choice.right ? "right" : "wrong";
  judged.textContent = choice.right ? `Right: ${choice.why}` : `Not yet. ${choice.why}`;
  if (choice.right) {
    const to = open;
    now = to;
    open = to;
    render();
    at("forward").focus();
  }
});
at("skip").addEventListener("click", () => { const to = open; if (to !== null) go(to); at("forward").focus(); });

// --- moving --------------------------------------------------------------------------------

at("first").addEventListener("click", () => go(0));
at("back").addEventListener("click", () => go(now - 1));
at("forward").addEventListener("click", () => go(now + 1));
at("last").addEventListener("click", () => go(frames.length - 1));
at("turn").addEventListener("click", () => go(data.records.length + 1));
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.("input, select, textarea")) return;
  const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: frames.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  go(to);
});

// --- heat maps, drawn when they are opened ---------------------------------------------------

function drawWhenOpened(details) {
  details.addEventListener("toggle", () => {
    if (!details.open || details.querySelector("canvas")) return;
    const rows = JSON.parse(details.dataset.heat);
    const canvas = document.createElement("canvas");
    canvas.width = rows[0].length; canvas.height = rows.length;
    canvas.style.width = `${Math.min(200, 14 * canvas.width)}px`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "heat map: red above 0, blue below");
    const pen = canvas.getContext("2d");
    rows.forEach((row, i) => row.forEach((x, j) => {
      const pale = Math.round(255 * (1 - Math.abs(x)));
      pen.fillStyle = x < 0 ? `rgb(${pale},${pale},255)` : `rgb(255,${pale},${pale})`;
      pen.fillRect(j, i, 1, 1);
    }));
    details.append(canvas);
  });
}
for (const details of document.querySelectorAll("td.value details[data-heat]")) drawWhenOpened(details);

// --- print: all that is found, wherever the reader is ------------------------------------------

let kept = null;
addEventListener("beforeprint", () => { kept = now; now = frames.length - 1; render(); });
addEventListener("afterprint", () => { now = kept ?? now; kept = null; render(); });
render();
