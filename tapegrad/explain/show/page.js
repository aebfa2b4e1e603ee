"use strict";
// The page holds all values as text already; this shows them one step at a time.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const frames = [
  { said: "The tape is empty. Step forward with the button or the right arrow key." },
  ...data.forward,
  ...data.events,
];
const lines = new Map(data.records.map((line) => {
  const row = at(`line-${line}`);
  return [line, { row, node: at(`node-${line}`), cotangent: row.querySelector(".cotangent") }];
}));
const edges = [...document.querySelectorAll("#edges path")];
const parameters = [...document.querySelectorAll("#mapping tbody tr")];
const runs = [...document.querySelectorAll("details[id^=run]")];
let now = 0;
let open = null; // the frame whose prediction is asked for

function text(parent, tag, words, className) {
  const element = document.createElement(tag);
  element.textContent = words;
  if (className) element.className = className;
  parent.append(element);
  return element;
}

// A value is text, or the number of an array.
const valueOf = (piece) => typeof piece === "number" ? data.values[piece] : { brief: piece ?? "" };

function pieces(parent, list) {
  const line = text(parent, "div", "", "pieces");
  for (const piece of list) text(line, "span", valueOf(piece).brief, typeof piece === "number" ? "mono" : "mono words");
}

// What is opened stays open while the value stays.
function fill(cell, piece) {
  if (cell.shown === piece) return;
  cell.shown = piece;
  const value = valueOf(piece);
  if (!value.full) {
    cell.textContent = value.brief;
    return;
  }
  const details = document.createElement("details");
  text(text(details, "summary", ""), "span", value.brief);
  text(details, "pre", value.full);
  if (value.heat) {
    details.dataset.heat = value.heat;
    drawWhenOpened(details);
  }
  cell.replaceChildren(details);
}

function render() {
  const seen = new Set(), cotangents = new Map(), gradients = new Map(), passed = new Set();
  const ran = { forth: new Set(), back: new Set() };
  for (const frame of frames.slice(1, now + 1)) {
    if (frame.kind === "forward") seen.add(frame.line);
    if (frame.kind === "seed") cotangents.set(frame.line, frame.cotangent);
    if (frame.kind === "sum") cotangents.set(frame.to, frame.running);
    if (frame.kind === "gradient") gradients.set(frame.line, frame.cotangent);
    ran[frame.kind]?.add(`run-${frame.run}`);
    if (frame.kind === "rule") passed.add(`edge-${frame.line}-${frame.position}`);
  }
  const frame = frames[now];
  for (const [line, { row, node, cotangent }] of lines) {
    for (const element of [row, node]) {
      element.classList.toggle("unseen", !seen.has(line));
      element.classList.toggle("now", frame.line === line);
      element.classList.toggle("touched", frame.to === line);
    }
    if (frame.line === line) row.setAttribute("aria-current", "step");
    else row.removeAttribute("aria-current");
    fill(cotangent, cotangents.get(line) ?? "");
  }
  // a step of a loop is seen once it has run; it and what it stands in are open while it does
  const run = at(`run-${frame.run}`);
  for (const element of runs) {
    element.classList.toggle("unseen", !ran.forth.has(element.id));
    element.classList.toggle("unswept", !ran.back.has(element.id));
    element.classList.toggle("now", element === run);
    if (run) element.open = element.contains(run);
  }
  const flowing = `edge-${frame.line}-${frame.position}`;
  for (const edge of edges) {
    const state = edge.id === flowing ? "flow" : passed.has(edge.id) ? "done" : seen.has(Number(edge.id.split("-")[1])) ? "" : "unseen";
    if (edge.getAttribute("class") === state) continue;
    edge.setAttribute("class", state);
    // lines share trunks: those that carry a cotangent lie above the others
    if (passed.has(edge.id)) edge.parentElement.append(edge);
    else edge.parentElement.prepend(edge);
  }
  parameters.forEach((row, k) => {
    const rest = now === frames.length - 1 ? data.zeros[k] : "";
    const found = gradients.get(Number(row.dataset.line)) ?? rest;
    fill(row.children[1], found);
    row.children[2].classList.toggle("unseen", found === "");
  });
  const said = at("said");
  said.replaceChildren();
  text(said, "div", frame.said);
  for (const part of frame.parts ?? []) pieces(said, part);
  at("place").textContent = `step ${now} of ${frames.length - 1}`;
  at("back").disabled = at("first").disabled = now === 0;
  at("forward").disabled = at("last").disabled = now === frames.length - 1;
  const current = [run, at(`line-${frame.line}`), at(`node-${frame.line}`), parameters.find((row) => Number(row.dataset.line) === frame.line)];
  const keep = () => { for (const element of current) if (element) keepInView(element); };
  keep();
  // rows that come into view get their heights only now
  requestAnimationFrame(() => { keep(); requestAnimationFrame(keep); });
}

// Scrolls the boxes alone: the page stays where the reader left it.
function keepInView(element) {
  const box = element.closest(".wide"), head = box.querySelector("thead")?.offsetHeight ?? 0;
  const a = element.getBoundingClientRect(), b = box.getBoundingClientRect();
  if (a.top < b.top + head || a.bottom > b.bottom) box.scrollTop += a.top - b.top - (a.height < b.height / 2 ? b.height / 2 : head);
  if (element.tagName !== "TR" && (a.left < b.left || a.right > b.right)) box.scrollLeft += a.left - b.left - b.width / 2;
}

function go(to) {
  to = Math.max(0, Math.min(frames.length - 1, to));
  if (to === now + 1 && at("first-guess").checked && frames[to].choices && open !== to) {
    ask(to);
    return;
  }
  show(to, "");
}

function show(to, verdict) {
  now = to;
  open = null;
  if (at("predict").contains(document.activeElement)) at("forward").focus();
  at("predict").hidden = true;
  at("said").hidden = false;
  at("judged").textContent = verdict;
  render();
}

// --- predictions ---------------------------------------------------------------------------

function ask(to) {
  const frame = frames[to], fields = at("answers");
  open = to;
  at("judged").textContent = "";
  at("said").hidden = true;
  at("question").textContent = frame.question;
  at("given").replaceChildren();
  for (const line of frame.given) pieces(at("given"), line);
  fields.replaceChildren();
  const choices = frame.number ? [{ pieces: ["A number:"] }] : frame.choices;
  choices.forEach((choice, i) => {
    const label = text(fields, "label", ""), input = document.createElement("input");
    input.name = "answer"; input.required = true; input.autocomplete = "off";
    if (frame.number) input.inputMode = "decimal";
    else { input.type = "radio"; input.value = String(i); label.append(input); }
    pieces(label, choice.pieces);
    if (frame.number) label.append(input);
  });
  at("predict").hidden = false;
  fields.querySelector("input").focus();
}

function close(a, b) {
  return Math.abs(a - b) <= 1e-3 * Math.max(1, Math.abs(b)) || Object.is(a, b);
}

const WHY = {
  right: (rule) => `Right: the rule ${rule} gives this.`,
  g: (rule) => `Not yet. That is g, which came in: it has yet to go through the rule, ${rule}.`,
  sign: (rule) => `Not yet. The size is right, but the sign is not: the rule is ${rule}.`,
  value: () => "Not yet. That is the value of the record; a cotangent says how the output changes with it.",
  twice: (rule) => `Not yet. That is twice as much: the rule is ${rule}.`,
  zero: (rule) => `Not yet. It is not 0: the rule is ${rule}.`,
  one: (rule) => `Not yet. The rule ${rule} gives something else here.`,
  other: (rule) => `Not yet. Put the numbers into the rule: ${rule}.`,
};

function judge(frame, answer) {
  if (!frame.number) return frame.choices[Number(answer)].kind;
  const given = Number(answer.replace(",", "."));
  const right = frame.choices.find((choice) => choice.kind === "right");
  if (close(given, right.number)) return "right";
  return frame.choices.find((choice) => close(given, choice.number))?.kind ?? "other";
}

at("predict").addEventListener("submit", (event) => {
  event.preventDefault();
  const frame = frames[open];
  const kind = judge(frame, new FormData(event.target).get("answer") ?? "");
  const verdict = WHY[kind](frame.rule);
  at("judged").className = kind === "right" ? "right" : "wrong";
  if (kind === "right") show(open, verdict);
  else at("judged").textContent = verdict;
});
const skip = () => { if (open !== null) show(open, ""); };
at("skip").addEventListener("click", skip);
at("first-guess").addEventListener("change", () => { if (open !== null) show(now, ""); });

// --- moving --------------------------------------------------------------------------------

at("first").addEventListener("click", () => go(0));
at("back").addEventListener("click", () => go(now - 1));
at("forward").addEventListener("click", () => go(now + 1));
at("last").addEventListener("click", () => go(frames.length - 1));
at("turn").addEventListener("click", () => go(data.forward.length + 1));
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Escape") skip();
  // in a text that was begun, the arrows move between its characters
  if (event.target.inputMode === "decimal" && event.target.value) return;
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
