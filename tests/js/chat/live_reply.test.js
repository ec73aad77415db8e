import assert from "node:assert/strict";
import { test } from "node:test";

import { LiveReply } from "../../../modules/ui/web/chat/live_reply.js";

test("tokens are counted as the events say, reasoning apart", () => {
  const live = new LiveReply();
  for (const event of [{ r: "a", n: 2 }, { r: "b" }, { t: "c", n: 3 }]) live.take(event);
  assert.deepEqual([live.tokens, live.reasoningTokens, live.reasoning, live.text], [6, 3, "ab", "c"]);
});

test("the first token ends the progress", () => {
  const live = new LiveReply();
  live.take({ progress: { stage: "prompt", done: 5, total: 10 } });
  assert.equal(live.progress.from, 5);
  live.take({ progress: { stage: "prompt", done: 8, total: 10 } });
  assert.equal(live.progress.from, 5);
  live.take({ t: "a" });
  assert.equal(live.progress, null);
});

test("another stage begins its own measure", () => {
  const live = new LiveReply();
  live.take({ progress: { stage: "loading", done: 7, total: 10 } });
  live.take({ progress: { stage: "prompt", done: 1, total: 10 } });
  assert.equal(live.progress.from, 1);
});

test("listeners are told what changed until they leave", () => {
  const live = new LiveReply();
  const heard = [];
  const leave = live.listen((kind) => heard.push(kind));
  for (const event of [{ t: "a" }, { r: "b" }, { notice: { message: "n" } }, { ledger: { limit: 1 } }]) live.take(event);
  leave();
  live.take({ t: "c" });
  assert.deepEqual(heard, ["text", "reasoning", "notice", "ledger"]);
});
