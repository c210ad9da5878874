// Loads the data of a page of evidence: script files beside the page (see chunks.py), index.js first, then one chunk
// per opened response. A file calls back with packed JSON (deflated, base64); it stays data all the way.
window.medpsyEvidence = (function () {
  "use strict";

  const KEPT = 8; // chunks held in memory
  const chunks = new Map(), waiting = new Map(); // number -> [texts, tasks]; number -> what waits for it
  let folder = "", start = null, report = null;

  async function unpacked(text) {
    const packed = atob(text), bytes = new Uint8Array(packed.length);
    for (let place = 0; place < packed.length; place++) bytes[place] = packed.charCodeAt(place);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  function load(file, failed) {
    const script = document.createElement("script");
    script.src = folder + file;
    script.addEventListener("error", function () { script.remove(); failed(); });
    script.addEventListener("load", function () { script.remove(); });
    document.head.append(script);
  }

  // Loads the index of the evidence in `source`; `failed` gets a sentence for the reader.
  function open(source, done, failed) {
    folder = source;
    start = done;
    report = failed;
    if (!window.DecompressionStream) return failed("This browser is too old to read the responses; update it.");
    load("index.js", function () { failed("The responses are missing; build the report again."); });
  }

  function index(text) {
    unpacked(text).then(start, function () { report("The list of responses is damaged; build the report again."); });
  }

  // Calls `done` with chunk `number`, from memory if it is there.
  function withChunk(number, done, failed) {
    if (chunks.has(number)) return done(chunks.get(number));
    if (waiting.has(number)) return waiting.get(number).push([done, failed]);
    waiting.set(number, [[done, failed]]);
    load(String(number).padStart(4, "0") + ".js", function () { settle(number, null); });
  }

  function chunk(number, text) {
    unpacked(text).then(function (content) {
      if (chunks.size >= KEPT) chunks.delete(chunks.keys().next().value);
      chunks.set(number, content);
      settle(number, content);
    }, function () { settle(number, null); });
  }

  function settle(number, content) {
    const calls = waiting.get(number) || [];
    waiting.delete(number);
    for (const [done, failed] of calls) if (content) done(content); else failed();
  }

  return { open: open, index: index, chunk: chunk, withChunk: withChunk, kinds: {} };
})();
