import assert from "node:assert/strict";
import { test } from "node:test";

import { events } from "../../../modules/ui/web/core/sse.js";

/** An answer whose body arrives in these pieces. */
function answer(pieces) {
  return new Response(new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece);
      controller.close();
    },
  }));
}

async function all(pieces) {
  const found = [];
  for await (const event of events(answer(pieces))) found.push(event);
  return found;
}

const bytes = new TextEncoder().encode('data: {"t":"日本 😀"}\n\n: keep-alive\n\ndata: {"done":{}}\n\n');

test("events are whole wherever the network cuts, also inside a character", async () => {
  for (let cut = 1; cut < bytes.length; cut += 1) {
    assert.deepEqual(await all([bytes.slice(0, cut), bytes.slice(cut)]), [{ t: "日本 😀" }, { done: {} }]);
  }
});

test("an event without its end is not read", async () => {
  assert.deepEqual(await all([new TextEncoder().encode('data: {"t":"a"}\n\ndata: {"t":')]), [{ t: "a" }]);
});

test("a reader that leaves early ends the request", async () => {
  let cancelled = false;
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(bytes),
    cancel: () => { cancelled = true; },
  });
  for await (const event of events(new Response(body))) {
    assert.ok(event);
    break;
  }
  await new Promise(setImmediate);
  assert.equal(cancelled, true);
});
