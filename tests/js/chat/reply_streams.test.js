import assert from "node:assert/strict";
import { test } from "node:test";

import { LiveReply } from "../../../modules/ui/web/chat/live_reply.js";
import { finish, ReplyStreams } from "../../../modules/ui/web/chat/reply_streams.js";

/** An API whose replies send these events, one answer for each time it is asked. */
function api(...answers) {
  const asked = [];
  return {
    asked,
    reply: async (chat, id, from) => {
      asked.push([chat, id, from]);
      const text = answers.shift().map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
      return new Response(text);
    },
  };
}

const running = (id) => ({ id, state: "running" });

/** Follow one reply to its end; gives back what the end was and what had arrived. */
function followed(server) {
  return new Promise((resolve) => {
    const streams = new ReplyStreams(server, { ended: (chat, id, event, live) => resolve({ chat, id, event, live, streams }), lost: () => resolve(null) });
    streams.follow("chat", [running("a")]);
  });
}

test("a reply is read to its end, and is not running any more", async () => {
  const server = api([{ i: 1, r: "hm" }, { i: 2, t: "Hel" }, { i: 3, t: "lo" }, { i: 4, done: { reason: "stop", stats: {} } }]);
  const { live, streams, event } = await followed(server);
  assert.equal(live.text, "Hello");
  assert.equal(live.reasoning, "hm");
  assert.equal(event.done.reason, "stop");
  assert.equal(streams.live("a"), undefined);
});

test("a stream that breaks is read on from the event after the last one", async () => {
  const server = api([{ i: 1, t: "Hel" }], [{ i: 2, t: "lo" }, { i: 3, done: { reason: "stop", stats: {} } }]);
  const { live } = await followed(server);
  assert.equal(live.text, "Hello");
  assert.equal(server.asked.length, 2);
  assert.ok(server.asked[1][2] > 0);
});

test("a server that has lost the first events sends the whole reply again", async () => {
  const server = api([{ i: 1, t: "Hel" }], [{ reset: true }, { i: 0, t: "Hello" }, { i: 1, done: { reason: "stop", stats: {} } }]);
  assert.equal((await followed(server)).live.text, "Hello");
});

test("a message that is followed already is not followed twice", () => {
  const server = api([], []);
  const streams = new ReplyStreams(server, { ended() {}, lost() {} });
  streams.follow("chat", [running("a"), { id: "b", state: "done" }]);
  const live = streams.live("a");
  streams.follow("chat", [running("a")]);
  assert.equal(streams.live("a"), live);
  assert.equal(streams.live("b"), undefined);
  streams.close();
});

test("each end gives its state", () => {
  const live = new LiveReply();
  live.take({ t: "text" });
  const state = (event) => {
    const node = { state: "running" };
    finish(node, live, event);
    assert.equal(node.text, "text");
    return node.state;
  };
  assert.equal(state({ done: { reason: "stop", stats: {} } }), "done");
  assert.equal(state({ done: { reason: "cancelled", stats: {} } }), "stopped");
  assert.equal(state({ failed: { code: "interrupted", message: "" } }), "interrupted");
  assert.equal(state({ failed: { code: "engine_crashed", message: "" } }), "failed");
});
