
"use strict";
// All data is in the page: attributes of namespaces and workloads. Nothing is fetched, and nothing is made of text.
const $ = id => document.getElementById(id), all = (where, of = document) => [...of.querySelectorAll(where)];
const lines = words => words ? words.split("\n") : [], number = n => n.toLocaleString("en");
const workload = (element, space) => {
  const d = element.dataset;
  return { element, space, n: d.n, l: d.l, a: d.a, b: d.b || "", t: d.t || "", s: d.s || "", c: lines(d.c), h: lines(d.h), r: d.r || "", o: d.o || "", k: space.k, shown: true };
};
const spaces = all(".ns").map(element => {
  const d = element.dataset;
  const space = { element, n: d.n || "", k: d.k || "", l: d.l, a: d.a, t: d.t || "", s: d.s || "", e: d.e, f: d.f, shown: true };
  space.h = all(":scope > .in > .own", element).flatMap(own => lines(own.dataset.h));
  space.c = [];
  space.works = all(":scope > .in > .w", element).map(one => workload(one, space));
  for (const one of [space, ...space.works]) one.words = [space.k, space.n, one.n, one.t, ...one.c, ...one.h].join("\n").toLowerCase();
  return space;
});
const works = spaces.flatMap(space => space.works);

// -- filters ----------------------------------------------------------------------------------------------------
const FIELDS = { cluster: "k", team: "t", level: "l", state: "s", control: "c", cause: "h" };
const inputs = [$("q"), ...Object.keys(FIELDS).map($)].filter(Boolean);
function matches(one, asked, words) {
  return Object.entries(asked).every(([id, value]) => [].concat(one[FIELDS[id]]).includes(value)) && words.every(word => one.words.includes(word));
}
function filter() {
  const asked = {}, words = $("q").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const id of Object.keys(FIELDS)) if ($(id) && $(id).value) asked[id] = $(id).value;
  for (const input of inputs) input.classList.toggle("set", Boolean(input.value));
  for (const space of spaces) {
    let any = false;
    for (const one of space.works) { one.shown = matches(one, asked, words); any ||= one.shown; one.element.hidden = !one.shown; }
    // A namespace stands for itself where it has no workloads, or something of its own holds it back.
    space.shown = any || ((!space.works.length || (asked.cause && space.h.includes(asked.cause)) || (space.h.length && !asked.control)) && matches(space, asked, words));
    space.element.hidden = !space.shown;
  }
  for (const section of all(".cluster")) section.hidden = !all(".ns", section).some(element => !element.hidden);
  count();
}
const shownSpaces = () => spaces.filter(space => space.shown), shownWorks = () => works.filter(one => one.shown);

// -- numbers and bars, counted again ----------------------------------------------------------------------------
function percent(part, whole) {
  if (!whole) return "–";
  if (!part) return "0 %";
  const share = Math.round(100 * part / whole);
  return (part < whole ? Math.min(Math.max(share, 1), 99) : share) + " %";
}
function tally(units, field) {
  const counts = new Map();
  for (const unit of units) for (const value of [].concat(unit[field])) counts.set(value, (counts.get(value) || 0) + 1);
  return counts;
}
function draw(bar, counts) {
  for (const part of bar.children) {
    const n = counts.get(part.dataset.v) || 0;
    part.hidden = !n; part.style.flexGrow = n; part.title = part.title.replace(/[\d,]+$/, number(n));
  }
}
function count() {
  const ns = shownSpaces(), ws = shownWorks();
  for (const chart of all(".chart")) {
    const counts = tally(chart.dataset.u === "w" ? ws : ns, chart.dataset.d), items = all("li", chart), bar = chart.querySelector(".bar");
    const whole = items.reduce((sum, item) => sum + (counts.get(item.dataset.v) || 0), 0), said = [];
    draw(bar, counts);
    for (const item of items) {
      const n = counts.get(item.dataset.v) || 0;
      item.hidden = !n; item.querySelector("strong").textContent = number(n); item.querySelector("small").textContent = percent(n, whole);
      said.push(number(n) + " " + item.dataset.w);
    }
    bar.setAttribute("aria-label", chart.querySelector("figcaption").textContent + ": " + said.join(", "));
  }
  for (const [id, key] of [["teams", "t"], ["clusters", "k"]]) groups(id, ws, one => [one[key]], (row, mine) => {
    const held = mine.filter(one => one.h.length).length, met = mine.filter(one => one.l === "restricted").length;
    return [mine.length, percent(met, mine.length), held];
  });
  groups("controls", ws, one => one.c, (row, mine, bar) => {
    bar.parentElement.style.width = 100 * mine.length / (ws.length || 1) + "%";
    return [mine.length, percent(mine.length, ws.length)];
  });
  if ($("causes")) {
    const held = [...ws, ...ns.filter(space => space.h.length)];
    for (const row of $("causes").tBodies[0].rows) {
      const mine = held.filter(one => one.h.includes(row.dataset.g));
      const objects = mine.reduce((sum, one) => sum + one.h.filter(cause => cause === row.dataset.g).length, 0);
      row.cells[1].textContent = number(objects); row.cells[2].textContent = number(new Set(mine.map(one => one.space || one)).size);
      row.hidden = !objects;
    }
    $("causes").parentElement.hidden = all("tbody tr", $("causes")).every(row => row.hidden);
  }
  const part = ns.length < spaces.length || ws.length < works.length;
  $("h-ns").textContent = "Namespaces (" + number(ns.length) + (part ? " of " + number(spaces.length) + ", " + number(ws.length) + " workloads" : "") + ")";
  $("nothing").hidden = ns.length > 0;
}
function groups(id, units, keys, told) {
  if (!$(id)) return;
  const mine = new Map();
  for (const one of units) for (const key of keys(one)) mine.has(key) ? mine.get(key).push(one) : mine.set(key, [one]);
  for (const row of $(id).tBodies[0].rows) {
    const found = mine.get(row.dataset.g) || [], bar = row.querySelector(".bar");
    row.hidden = !found.length;
    draw(bar, tally(found, "l"));
    told(row, found, bar).forEach((value, index) => { if (row.cells[index + 2]) row.cells[index + 2].textContent = typeof value === "number" ? number(value) : value; });
  }
}

// -- the address ------------------------------------------------------------------------------------------------
function fromAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (location.hash && ![...asked.keys()].some(key => $(key) && inputs.includes($(key)))) return;
  for (const input of inputs) {
    const value = asked.get(input.id) || "";
    input.value = value;
    if (input.value !== value) input.value = "";
  }
  filter();
}
function toAddress() {
  const asked = new URLSearchParams(inputs.filter(input => input.value).map(input => [input.id, input.value]));
  history.replaceState(null, "", "#" + asked);
  filter();
}

// -- sorting ----------------------------------------------------------------------------------------------------
function sort(index, way) {
  for (const section of all(".cluster")) {
    const key = element => { const k = element.querySelector("summary").children[index].dataset.k || ""; return /^-?\d+$/.test(k) ? Number(k) : k; };
    const found = all(":scope > .ns", section).map(element => [key(element), element]);
    found.sort(([a], [b]) => way * (a < b ? -1 : a > b ? 1 : 0));
    section.append(...found.map(([, element]) => element));
    all(".heads > span", section).forEach((cell, i) => cell.setAttribute("aria-sort", i !== index ? "none" : way > 0 ? "ascending" : "descending"));
  }
}
let sorted = [-1, 1];
for (const section of all(".cluster")) all(".heads button", section).forEach((button, index) => button.addEventListener("click", () => {
  sorted = [index, sorted[0] === index ? -sorted[1] : 1];
  sort(...sorted);
}));

// -- what is shown, as files ------------------------------------------------------------------------------------
function told(element) {
  const out = [""];
  for (const node of element.childNodes) {
    if (!/^(UL|DIV)$/.test(node.nodeName)) out[0] += node.textContent;
    else if (!node.matches(".cmd")) out.push(...(all("li, code", node).length ? all("li, code", node) : [node]).map(leaf => leaf.textContent));
  }
  return out.map(text => text.trim()).filter(Boolean).join("; ");
}
const reason = one => all(":scope > .in > p:not(:has(a)), :scope > .in > .reason", one.element).map(told).filter(Boolean);
const commands = one => all(".cmd code", one.element).map(code => code.textContent);
function record(one) {
  const out = { cluster: one.space.k, namespace: one.space.n, workload: one.n, before: one.b, level: one.l, after: one.a, state: one.s, team: one.t,
    controls: one.c, heldBackBy: one.h, risk: one.r, outcome: one.o, reasons: reason(one), commands: commands(one) };
  return Object.fromEntries(Object.entries(out).filter(([key, value]) => value !== "" || ["namespace", "workload"].includes(key)));
}
function asJson() {
  const summary = { namespaces: shownSpaces().length, workloads: shownWorks().length };
  const listed = shownSpaces().map(s => ({ ...(s.k && { cluster: s.k }), namespace: s.n, meets: s.l, ...(s.s && { state: s.s }), ...(s.t && { team: s.t }), ...(s.e && { enforces: s.f || s.e }),
    heldBackBy: [...new Set(s.h)], reasons: all(":scope > .in > .own > .reason", s.element).map(told) }));
  return JSON.stringify({ title: document.title, filters: Object.fromEntries(new URLSearchParams(location.hash.slice(1))), summary, namespaces: listed, workloads: shownWorks().map(record) }, null, 2) + "\n";
}
function asCsv() {
  const heads = ["cluster", "namespace", "workload", "before", "level", "after", "state", "team", "controls", "heldBackBy", "risk", "outcome", "reasons", "commands"];
  // What a spreadsheet would take for a formula stays text.
  const cell = value => { const text = [].concat(value ?? "").join("; "); return '"' + (/^[=+\-@\t\r]/.test(text) ? "'" : "") + text.replace(/"/g, '""') + '"'; };
  return "\ufeff" + [heads, ...shownWorks().map(record).map(row => heads.map(head => row[head]))].map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
function download(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
$("csv").addEventListener("click", () => download("pod-security.csv", "text/csv;charset=utf-8", asCsv()));
$("json").addEventListener("click", () => download("pod-security.json", "application/json", asJson()));

// -- opening, copying -------------------------------------------------------------------------------------------
$("unfold").addEventListener("click", () => spaces.forEach(space => { space.element.open = space.shown; }));
$("fold").addEventListener("click", () => all(".ns, .w").forEach(element => { element.open = false; }));
document.addEventListener("click", event => {
  const copy = event.target.closest(".cmd button"), edits = event.target.closest("a.edits");
  if (copy) {
    const code = copy.parentElement.querySelector("code");
    const select = () => getSelection().selectAllChildren(code);
    if (!navigator.clipboard) { select(); return; }
    navigator.clipboard.writeText(code.textContent).then(() => { copy.textContent = "copied"; setTimeout(() => { copy.textContent = "copy"; }, 1500); }, select);
  }
  if (edits) {
    event.preventDefault();
    const there = edits.parentElement.nextElementSibling;
    if (there && there.classList.contains("here")) { there.remove(); edits.setAttribute("aria-expanded", "false"); return; }
    const shown = $(edits.hash.slice(1)).cloneNode(true);
    shown.removeAttribute("id"); shown.className = "here";
    edits.parentElement.after(shown);
    edits.setAttribute("aria-expanded", "true");
  }
});
function copyButtons(commands) {
  for (const command of commands) if (!command.querySelector("button")) {
    const button = document.createElement("button");
    button.type = "button"; button.textContent = "copy";
    command.append(button);
  }
}
document.addEventListener("toggle", event => {
  if (!event.target.open) return;
  copyButtons(all(".cmd", event.target));
  // The edits of a workload are what it is opened for.
  if (event.target.matches(".w")) all("a.edits", event.target).forEach(link => { if (!link.hasAttribute("aria-expanded")) link.click(); });
}, true);

// -- begin ------------------------------------------------------------------------------------------------------
let waiting;
$("q").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(toAddress, 120); });
for (const input of inputs.slice(1)) input.addEventListener("change", toAddress);
$("filters").addEventListener("submit", event => { event.preventDefault(); clearTimeout(waiting); toAddress(); });
$("filters").addEventListener("reset", () => setTimeout(toAddress));
addEventListener("hashchange", fromAddress);
document.addEventListener("keydown", event => {
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) { event.preventDefault(); $("q").focus(); }
  if (event.key === "Escape" && document.activeElement === $("q")) { $("q").value = ""; toAddress(); }
});
$("filters").hidden = $("tools").hidden = false;
document.documentElement.classList.add("js");
copyButtons(all("main > .cmd"));
for (const open of all(".ns[open]")) open.dispatchEvent(new Event("toggle"));
if (location.hash) fromAddress();
document.documentElement.dataset.ready = "yes";
