// One request to the server, with its errors as sentences.

import {toast} from "./dom.js";
import {base64} from "./images.js";

const AGAIN = new Set([429, 502, 503, 504]);  // busy or restarting
const PATIENCE = 60_000;  // a server takes up to 20 seconds to start
const pause = (ms, signal) => new Promise((done, failed) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); failed(signal.reason); }, {once: true});
});

// There was no response within a minute, which is not the fault of the pair.
export class NoAnswer extends Error {}

// Returns {caption, log_prob, changed, alternatives, change_map, note, familiar}; servers of older models omit some.
export async function ask(before, after, params, signal) {
  const [first, second] = await Promise.all([before, after].map(base64));
  const body = JSON.stringify({inputs: [{before: first, after: second}], params});
  const giveUp = Date.now() + PATIENCE;
  for (let wait = 400; ; wait = Math.min(2 * wait, 5000)) {
    let reply = null;
    try {
      reply = await fetch("invocations", {method: "POST", headers: {"Content-Type": "application/json"}, body, signal});
    } catch (error) {
      if (signal?.aborted) throw error;
    }
    if (reply?.ok) return (await reply.json()).predictions[0];
    if (reply && !AGAIN.has(reply.status)) throw new Error(refusal(reply.status, await message(reply)));
    if (Date.now() + wait > giveUp) {
      throw new NoAnswer(reply ? `The server does not answer: ${await message(reply) || `status ${reply.status}`}`
        : "The server cannot be reached; is idc-app still running?");
    }
    toast(reply ? "The server is busy; retrying …" : "The server cannot be reached; retrying …");
    await pause(wait * (0.75 + Math.random() / 2), signal);
  }
}

const message = reply => reply.json().then(told => told.message, () => "");

function refusal(status, said) {
  if (!said) return `The server reports an error (${status}); its log has the details.`;
  const [, side, why] = /^(?:row 0, '(before|after)': )?(.*)$/s.exec(said);
  return `The server rejects ${side ? `the image “${side}”` : "this pair"}: ${why}${/[.!?]$/.test(why) ? "" : "."}`;
}
