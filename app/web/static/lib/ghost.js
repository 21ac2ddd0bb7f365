/**
 * Words in grey behind the caret of a text box. The box itself is left alone: a copy of its text lies over it, invisible
 * but for the words after it, with the box's own font, padding, wrapping, direction and scroll position.
 */
const COPIED = [
  "direction",
  "unicodeBidi",
  "writingMode",
  "textAlign",
  "textIndent",
  "textTransform",
  "textRendering",
  "tabSize",
  "fontFamily",
  "fontSize",
  "fontWeight",
  "fontStyle",
  "fontStretch",
  "fontVariant",
  "fontKerning",
  "fontOpticalSizing",
  "fontFeatureSettings",
  "fontVariationSettings",
  "letterSpacing",
  "wordSpacing",
  "wordBreak",
  "lineBreak",
  "hyphens",
  "overflowWrap",
  "paddingTop",
  "paddingRight",
  "paddingBottom",
  "paddingLeft",
  "color",
];

export class Ghost {
  /** `layer` stands in the widget's shadow root; its style makes it absolute and lets the pointer through. */
  constructor(layer, box) {
    this.layer = layer;
    this.box = box;
    this.before = document.createElement("span");
    this.words = document.createElement("span");
    this.before.className = "before";
    this.words.setAttribute("part", "ghost");
    layer.replaceChildren(this.before, this.words);
    this.hide();
  }

  get shown() {
    return !this.layer.hidden;
  }

  /** Show `words` after `before`; `whole` is everything in the box. False where they cannot be drawn. */
  show(before, words, whole) {
    this.before.textContent = before;
    this.words.textContent = "";
    this.layer.hidden = false;
    this.place();
    const alone = this.#end();
    this.words.textContent = words;
    this.layer.scrollTop = this.box.scrollTop; // there was less to scroll without the words
    this.layer.scrollLeft = this.box.scrollLeft;
    const end = this.#end();
    // Words that move the copy away from the text in the box (a half-typed word that wraps, text that is centred), or
    // that would wrap onto the text below them, are not shown.
    const moved = alone && Math.hypot(alone.top - end.top, alone.left - end.left) > 1;
    const wrapped = whole.length > before.length && this.words.getClientRects().length > 1;
    if (moved || wrapped) this.hide();
    return this.shown;
  }

  #end() {
    return [...this.before.getClientRects()].at(-1);
  }

  hide() {
    this.layer.hidden = true;
  }

  /** Lay the copy over the box again: it, or the page, was moved, scrolled or resized. */
  place() {
    if (!this.shown) return;
    const { layer, box } = this;
    const style = getComputedStyle(box);
    for (const name of COPIED) layer.style[name] = style[name];
    const line = box instanceof HTMLInputElement;
    layer.style.whiteSpace = line ? "pre" : style.whiteSpace;
    const inner = box.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    layer.style.lineHeight = line ? `${inner}px` : style.lineHeight; // an input's text stands in the middle
    layer.style.width = `${box.clientWidth}px`;
    layer.style.height = `${box.clientHeight}px`;
    const there = box.getBoundingClientRect();
    const here = layer.getBoundingClientRect();
    layer.style.left = `${(parseFloat(layer.style.left) || 0) + there.left + box.clientLeft - here.left}px`;
    layer.style.top = `${(parseFloat(layer.style.top) || 0) + there.top + box.clientTop - here.top}px`;
    layer.scrollTop = box.scrollTop;
    layer.scrollLeft = box.scrollLeft;
  }
}
