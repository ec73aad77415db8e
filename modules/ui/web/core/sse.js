/** Reads a `text/event-stream` body as JSON values. Comments (keep-alives) are skipped. */

/** @param {Response} answer @returns {AsyncGenerator<any>}  parsed JSON, of the type its route documents */
export async function* events(answer) {
  if (!answer.body) return;
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let over = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      over = done;
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      let start = 0;
      for (let end = rest.indexOf("\n", start); end >= 0; end = rest.indexOf("\n", start)) {
        const line = rest.slice(start, end);
        start = end + 1;
        if (line.startsWith("data:")) yield JSON.parse(line.slice(5));
      }
      rest = rest.slice(start);
    }
  } finally {
    if (!over) reader.cancel().catch(() => null); // left early; when the body is gone there is nothing to release
  }
}
