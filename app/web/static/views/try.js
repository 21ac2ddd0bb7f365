/** The view "Try": words, then pictures. Each part stands in a file of its own, and one that fails leaves the other. */
import { frame, h } from "../lib/dom.js";
import { problem } from "../lib/parts.js";
import { pictures } from "./try-pictures.js";
import { words } from "./try-words.js";

/** `#/try/pictures` goes to the second part. */
export default async function show(root, ctx) {
  const [first, second] = ["words", "pictures"].map((name) => h("section", { class: `part ${name}`, tabindex: -1 }));
  h(root, {}, first, second);
  const parts = [part(words, first, ctx), part(pictures, second, ctx)];
  if (ctx.parameters[0] !== "pictures") return;
  await Promise.all(parts); // what stands above has its height now
  frame().then(() => {
    // after the page's frame, which goes to the top of every new view
    if (ctx.signal.aborted) return;
    second.focus({ preventScroll: true });
    second.scrollIntoView();
  });
}

async function part(make, root, ctx) {
  try {
    await make(root, ctx);
  } catch (error) {
    if (!ctx.signal.aborted) root.append(problem(error));
  }
}
