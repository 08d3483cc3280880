// The second tab: many pairs in, a CSV out.

import {$, $$, download, el, many, percent} from "./dom.js";
import {NoAnswer, ask} from "./ask.js";
import {drop, prepare, thumbnail} from "./images.js";
import {dropped, gather, pairUp, writeCsv} from "./files.js";

const AT_ONCE = 4;  // the server batches simultaneous requests
const MOST_SHOWN = 300;

let table = {rows: [], columns: [], alone: []}, stop = null;

const problem = text => { $("#batch-problem").textContent = text; };

export async function take(files) {
  if (stop) return problem("Captioning is in progress; cancel it first.");
  problem("");
  $("#told").textContent = "Reading …";
  try {
    table = await pairUp(await gather(files));
    if (!table.rows.length) throw new Error(`Found no pair in ${many(files.length, "file")}: see “How files are paired”.`);
  } catch (error) {
    $("#batch").hidden = true;
    return problem(error.message);
  }
  const {rows, alone} = table;
  $("#found").textContent = many(rows.length, "pair") + "." + (alone.length
    ? ` ${many(alone.length, "image has", "images have")} no partner: ${alone.slice(0, 5).join(", ")}${alone.length > 5 ? " …" : ""}.` : "");
  $("#batch").hidden = $("#start").hidden = false;
  $("#save").hidden = $("#bar").hidden = true;
  $("#start").textContent = `Caption ${many(rows.length, "pair")}`;
  $("#told").textContent = "";
  $("#more").hidden = rows.length <= MOST_SHOWN;
  $("#more").textContent = `The first ${MOST_SHOWN} are shown; the CSV has all ${rows.length.toLocaleString("en")}.`;
  $("#rows").replaceChildren(...rows.slice(0, MOST_SHOWN).map(row => row.line = el("tr", {},
    el("td", {className: "pair"}, el("div", {}, el("span", {textContent: row.names[0], title: row.names.join("\n")}))),
    el("td", {className: "said"}), el("td", {className: "number"}), el("td", {className: "number"}))));
}

async function run() {
  const {rows} = table, left = rows.filter(row => !row.reply), began = performance.now();
  let done = 0;
  const {signal} = stop = new AbortController();
  problem("");
  $("#start").hidden = true;
  $("#cancel").hidden = $("#bar").hidden = false;
  $("#align-all").disabled = true;
  const params = $("#align-all").checked ? {align: true} : {};
  const tell = () => {
    const failed = rows.filter(row => row.error).length, seconds = (performance.now() - began) / 1000 * (left.length - done) / Math.max(done, 1);
    $("#bar").value = (rows.length - left.length + done) / rows.length;
    $("#told").textContent = `${rows.length - left.length + done} of ${rows.length}` + (failed ? `, ${failed} failed` : "") +
      (done && done < left.length && !signal.aborted ? `, ${seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`} left` : "");
  };
  tell();
  const queue = left.values();
  try {
    await Promise.all(Array.from({length: AT_ONCE}, async () => {
      for (const row of queue) {
        if (signal.aborted) return;
        await one(row, params, signal);
        if (signal.aborted && !row.reply) return;
        done++;
        tell();
      }
    }));
  } finally {
    const stopped = signal.aborted, open = rows.filter(row => !row.reply).length;
    tell();
    stop.abort();  // if one of the four has failed, stop the others
    stop = null;
    $("#cancel").hidden = true;
    $("#align-all").disabled = false;
    $("#save").hidden = !rows.some(row => row.reply);
    $("#start").hidden = !open;
    $("#start").textContent = stopped ? `Continue with ${many(open, "pair")}` : `Retry ${many(open, "pair")}`;
    if (stopped) $("#told").textContent += ", stopped";
  }
}

async function one(row, params, signal) {
  const images = [];
  row.error = "";
  try {
    for (const side of ["before", "after"]) images.push(await prepare(await row[side].open()));
    row.reply = await ask(images[0].blob, images[1].blob, params, signal);
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof NoAnswer) {  // the others would not get one either
      problem(error.message);
      return stop.abort();
    }
    row.error = error.message;
  } finally {
    images.forEach(drop);
  }
  if (row.line) await draw(row, images);
}

async function draw({line, reply, error, names}, images) {
  const [pair, said, changed, part] = line.cells;
  line.classList.toggle("failed", Boolean(error));
  said.textContent = error || reply.caption || "(no words)";
  if (reply?.note) said.append(el("small", {textContent: reply.note}));
  changed.textContent = reply?.changed == null ? "" : percent(reply.changed);
  part.textContent = reply ? percent(Math.exp(reply.log_prob)) : "";
  // Keep the row even if no thumbnail can be made.
  const thumbnails = await Promise.all(images.map(({blob}) => thumbnail(blob, 64).catch(() => null)));
  $$("img", pair).forEach(image => image.remove());
  $("div", pair).prepend(...thumbnails.flatMap((src, at) => src ? [el("img", {src, alt: names[at]})] : []));
}

function save() {
  const {rows, columns} = table;
  const head = ["before", "after", ...columns, "caption", "log_prob", "changed", "familiar", "note", "error"];
  const lines = rows.map(({names, more, reply, error}) =>
    [...names, ...more, reply?.caption, reply?.log_prob, reply?.changed, reply?.familiar, reply?.note, error || (reply ? "" : "not asked")]);
  download("captions.csv", new Blob([writeCsv([head, ...lines])], {type: "text/csv"}));
}

export function start() {
  for (const input of $$("#drop input")) {
    input.onchange = () => { const files = [...input.files].map(file => ({file})); input.value = ""; if (files.length) take(files); };
  }
  $("#start").onclick = run;
  $("#cancel").onclick = () => stop?.abort();
  $("#save").onclick = save;
  $("#align-all").onchange = () => {  // the settings changed, so discard the captions
    table.rows.forEach(row => { row.reply = null; row.error = ""; });
    $("#start").hidden = false;
    $("#start").textContent = `Caption ${many(table.rows.length, "pair")}`;
  };
  addEventListener("beforeunload", event => { if (stop) event.preventDefault(); });
}

export const takeDrop = async transfer => {
  try {
    await take(await dropped(transfer));
  } catch (error) {
    problem(error.message);
  }
};
