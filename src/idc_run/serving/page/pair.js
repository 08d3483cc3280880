// The first tab: two images, their caption, and earlier pairs.

import {$, $$, copy, el, kept, percent, toast} from "./dom.js";
import {ask} from "./ask.js";
import {coloured, drop, prepare, thumbnail} from "./images.js";
import * as history from "./history.js";
import {curl} from "./curl.js";

const pair = {before: null, after: null, id: 0, reply: null, params: null};  // `params` are those of the reply
const stage = $("#stage"), slider = $("#slider");
const slot = side => $(`.slot[data-side=${side}]`);
const EMPTY = matchMedia("(hover: none)").matches ? "Choose or take a photo" : "Drop, paste or choose an image";
const SETTINGS = $$("#settings input[type=number]").map(({id}) => id);
let asking = null, focused = "before";

// ---- the two images

const choices = {before: 0, after: 0};
const faults = {before: "", after: ""};  // why the last file for a side was rejected

// Reads an image for one side; returns null if a later choice has replaced it.
async function read(side, file, unlike) {
  const mine = ++choices[side];
  try {
    const image = await prepare(file);
    if (choices[side] === mine) return {...image, unlike: unlike || image.unlike};
    drop(image);
  } catch (error) {
    if (choices[side] !== mine) return null;
    faults[side] = error.message;
    throw error;
  }
  return null;
}

async function take(files, unlike) {
  for (const side in files) faults[side] = "";
  problem("");
  try {
    const images = await Promise.all(Object.entries(files).map(async ([side, file]) => [side, await read(side, file, unlike)]));
    const wanted = images.filter(([, image]) => image);
    for (const [side, image] of wanted) set(side, image);
    if (wanted.length) await caption();
  } catch (error) {
    problem(error.message);
  }
}

// Takes dropped, pasted or chosen files: one fills an empty slot, two are ordered by their names. For an image that is not
// a file on disk, `unlike` says what it is.
export async function takeAll(files, {side = pair.before ? pair.after ? focused : "after" : "before", unlike = ""} = {}) {
  if (files.length > 2) return problem(`You chose ${files.length} images; a pair has two. For more, use “Many pairs”.`);
  if (files.length === 2) {
    const later = file => /after|later|new|nachher|_1\b/i.test(file.name);
    const [before, after] = [...files].sort((one, other) => later(one) - later(other) || one.name.localeCompare(other.name, "en", {numeric: true}));
    return take({before, after}, unlike);
  }
  if (files.length) return take({[side]: files[0]}, unlike);
}

function set(side, image) {
  choices[side]++;
  faults[side] = "";
  drop(pair[side]);
  pair[side] = image;
  pair.id = Date.now();
  pair.reply = null;
  show();
}

function show() {
  for (const side of ["before", "after"]) {
    const image = pair[side], box = slot(side);
    box.classList.toggle("full", Boolean(image));
    $("img", box).hidden = $(".clear", box).hidden = !image;
    $(".about", box).textContent = image ? `${image.name} · ${image.given}` : EMPTY;
    if (!image) continue;
    $("img", box).src = $(`.${side} img`, stage).src = image.url;
    $(`.${side} img`, stage).alt = `${side}: ${image.name}`;
    $(`.${side} img`, stage).classList.toggle("small", Math.max(image.width, image.height) < 200);
  }
  const both = pair.before && pair.after;
  $("#work").hidden = !both;
  $("#swap").disabled = !pair.before && !pair.after;
  if (pair.before) $("#work").style.setProperty("--ratio", pair.before.width / pair.before.height);
  if (both) {
    document.body.classList.add("seen");
    draw(null);
  }
  mark();
}

// Shows an error, after the reasons why sides are still empty.
function problem(text) {
  const empty = ["before", "after"].filter(side => !pair[side]).map(side => faults[side]);
  $("#problem").textContent = [...new Set([...empty, text])].filter(Boolean).join(" ");
}

// ---- captioning

function params() {
  const given = {change_map: true};
  for (const name of SETTINGS) {
    const box = $(`#${name}`);
    if (box.value && !box.disabled && box.checkValidity()) given[name] = Number(box.value);
  }
  if ($("#sample").checked) given.sample = true;
  if ($("#align").checked) given.align = true;
  return given;
}

// Sets the controls to the parameters of a reply.
function restore(given) {
  $("#sample").checked = Boolean(given.sample);
  $("#align").checked = Boolean(given.align);
  able();
  for (const name of SETTINGS) $(`#${name}`).value = given[name] ?? ($(`#${name}`).disabled ? $(`#${name}`).defaultValue : "");
}

function able() {
  $("#temperature").disabled = $("#seed").disabled = !$("#sample").checked;
  $("#beam").disabled = $("#sample").checked;
}

async function caption() {
  if (!pair.before || !pair.after) return;
  asking?.abort();
  const mine = asking = new AbortController(), {id, before, after} = pair, wanted = params();
  problem("");
  $("#answer").setAttribute("aria-busy", "true");
  if (!pair.reply) waiting("Captioning …");
  try {
    const reply = await ask(before.blob, after.blob, wanted, mine.signal);
    if (pair.id !== id) return;
    Object.assign(pair, {reply, params: wanted});
    await draw(reply);
    await keep({id, before, after, params: wanted, reply});
  } catch (error) {
    if (mine.signal.aborted) return;
    problem(error.message);
    if (!pair.reply) waiting("No caption.");
  } finally {
    if (asking === mine) $("#answer").setAttribute("aria-busy", "false");
  }
}

function waiting(text) {
  $("#caption").classList.add("waiting");
  $("#caption").textContent = text;
}

async function draw(reply) {
  $("#note").hidden = !reply?.note;
  const parts = {changed: reply?.changed, familiar: reply?.familiar};
  for (const [name, part] of Object.entries(parts)) $(`#${name}`).hidden = part == null;
  $("#answer").classList.toggle("foreign", parts.familiar != null && parts.familiar < 0.5);
  $("#others").hidden = !reply;
  const copied = [pair.before, pair.after].find(({unlike}) => unlike);
  $("#copy").disabled = !reply;
  $("#curl").disabled = !reply || Boolean(copied);
  $("#curl").title = copied ? `Not available, because no file holds exactly what was sent: “${copied.name}” ${copied.unlike}` : "";
  clearMap();
  if (!reply) return;
  $("#caption").classList.remove("waiting");
  $("#caption").textContent = reply.caption || "(no words)";
  $("#note").textContent = reply.note ? reply.note[0].toUpperCase() + reply.note.slice(1) + "." : "";
  for (const [name, part] of Object.entries(parts).filter(([, part]) => part != null)) {
    $(`#${name} b`).textContent = percent(part);
    $(`#${name} i`).style.setProperty("--part", `${100 * part}%`);
  }
  const rows = [reply, ...reply.alternatives ?? []], best = Math.max(...rows.map(row => row.log_prob));
  $("#wordings").hidden = Math.exp(best) > 0.2;
  $("#captions").replaceChildren(...rows.map(({caption, log_prob}) => {
    const part = Math.exp(log_prob), bar = el("div", {className: "bar"}, el("i"));
    bar.firstChild.style.setProperty("--part", `${100 * Math.exp(log_prob - best)}%`);
    return el("li", {}, caption || "(no words)", el("span", {textContent: percent(part), title: `log-probability ${log_prob.toFixed(2)}`}), bar);
  }));
  $("#mapping").hidden = !reply.change_map;
  if (reply.change_map) {
    // The map belongs to the before image. The model resizes both to one shape, so it also fits the after image, unless
    // that was aligned.
    const sides = pair.params.align ? ["before"] : ["before", "after"];
    const maps = await coloured(reply.change_map, sides.map(side => pair[side]));
    if (pair.reply !== reply) return;
    clearMap();
    sides.forEach((side, at) => $(`.${side} img`, stage).after(maps[at]));
  }
}

const clearMap = () => $$("canvas", stage).forEach(canvas => canvas.remove());

// ---- earlier pairs

async function keep({id, before, after, params, reply}) {
  const sides = await Promise.all([before, after].map(async ({blob, name, width, height, given, unlike}) =>
    ({blob, name, width, height, given, unlike, thumbnail: await thumbnail(blob)})));
  await history.remember({id, before: sides[0], after: sides[1], params, reply});
  await list();
}

async function list() {
  const entries = await history.all();
  $("#history").hidden = !entries.length;
  $(".past").replaceChildren(...entries.map(entry => {
    const button = el("button", {title: `${entry.before.name}, ${entry.after.name}`},
      el("img", {src: entry.before.thumbnail, alt: ""}), el("img", {src: entry.after.thumbnail, alt: ""}), el("span", {textContent: entry.reply.caption}));
    button.dataset.id = entry.id;
    button.onclick = () => reopen(entry);
    return el("li", {}, button);
  }));
  mark();
}

function reopen(entry) {
  asking?.abort();
  $("#answer").setAttribute("aria-busy", "false");
  problem("");
  for (const side of ["before", "after"]) {
    choices[side]++;
    drop(pair[side]);
    pair[side] = {...entry[side], url: URL.createObjectURL(entry[side].blob)};
  }
  Object.assign(pair, {id: entry.id, reply: entry.reply, params: entry.params});
  restore(entry.params);
  show();
  draw(entry.reply);
  scrollTo({top: 0, behavior: "smooth"});
}

const mark = () => $$(".past button").forEach(button => button.setAttribute("aria-current", String(Number(button.dataset.id) === pair.id)));

// ---- examples

async function examples() {
  const reply = await fetch("examples").catch(() => null);
  if (!reply?.ok) return;
  const pairs = await reply.json();
  $("#examples").hidden = !pairs.length;
  $("#examples .strip").replaceChildren(...pairs.map(({before, after}, at) => {
    const button = el("button", {ariaLabel: `Example ${at + 1}`},
      el("img", {src: before, alt: "", loading: "lazy"}), el("img", {src: after, alt: "", loading: "lazy"}));
    button.onclick = async () => {
      const files = await Promise.all([["before", before], ["after", after]].map(async ([side, url]) =>
        new File([await (await fetch(url)).blob()], `example_${at + 1}_${side}.webp`)));
      await takeAll(files, {unlike: "is an example"});
      scrollTo({top: 0, behavior: "smooth"});
    };
    return button;
  }));
}

// ---- controls

function setMode(mode) {
  stage.dataset.mode = mode;
  $$("#modes button").forEach(button => button.setAttribute("aria-pressed", String(button.dataset.mode === mode)));
  kept.set("mode", mode);
}

function setMap(on) {
  $("#map").setAttribute("aria-pressed", String(on));
  document.documentElement.style.setProperty("--map", on ? $("#opacity").value / 100 : 0);
  kept.set("map", on);
}
const mapShown = () => $("#map").getAttribute("aria-pressed") === "true";

export function keydown(event) {
  if (event.key === "m" && !event.repeat && !$("#mapping").hidden) setMap(!mapShown());
  if (event.key === "f") {
    stage.classList.add("flick");
    stage.classList.toggle("late", slider.value > 50);
  }
}
export const keyup = event => { if (event.key === "f") stage.classList.remove("flick", "late"); };

export function start() {
  for (const side of ["before", "after"]) {
    const box = slot(side), input = $("input", box);
    input.onfocus = () => { focused = side; };
    input.onchange = () => { const files = [...input.files]; input.value = ""; takeAll(files, {side}); };
    $(".clear", box).onclick = () => { asking?.abort(); set(side, null); problem(""); input.focus(); };
  }
  $("#swap").onclick = () => {
    [pair.before, pair.after] = [pair.after, pair.before];
    [faults.before, faults.after] = [faults.after, faults.before];
    Object.assign(pair, {id: Date.now(), reply: null});
    show();
    caption();
  };
  slider.oninput = () => stage.style.setProperty("--at", `${slider.value}%`);
  $$("#modes button").forEach(button => { button.onclick = () => setMode(button.dataset.mode); });
  $("#map").onclick = () => setMap(!mapShown());
  $("#opacity").oninput = () => { kept.set("opacity", $("#opacity").value); setMap(true); };
  $("#copy").onclick = () => copy(pair.reply.caption, "Caption copied");
  $("#curl").onclick = () => copy(curl(pair.before, pair.after, pair.params), "Command copied; run it in the folder of the two files");
  $("#forget").onclick = async () => { await history.forget(); await list(); toast("Deleted"); };
  for (const name of ["align", "sample", ...SETTINGS]) {
    $(`#${name}`).onchange = () => {
      able();
      if ($(`#${name}`).checkValidity()) caption();
      else problem(`${$(`#${name}`).parentNode.firstChild.textContent.trim()}: ${$(`#${name}`).validationMessage}`);
    };
  }
  $("#opacity").value = kept.get("opacity", 70);
  setMode(kept.get("mode", "slider"));
  setMap(kept.get("map", false));
  able();
  show();
  examples();
  list();
}
