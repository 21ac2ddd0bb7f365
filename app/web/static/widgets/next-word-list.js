/** The list of suggested words: a listbox that is walked from the text box, by `aria-activedescendant`. */
const part = (tag, name, ...children) => {
  const made = document.createElement(tag);
  made.setAttribute("part", name);
  made.append(...children);
  return made;
};

export class WordList {
  /** The predictions that can be chosen; none while those that are seen belong to an older text. */
  rows = [];
  /** The place of the chosen one; -1: none. */
  active = -1;
  element = part("div", "list");

  /** `take(prediction)` hears of a click or tap. */
  constructor(take) {
    this.take = take;
    this.element.setAttribute("role", "listbox");
  }

  get chosen() {
    return this.rows[this.active] ?? null;
  }

  /** Show `rows` for `box`, with the probabilities written as in `language`. */
  draw(rows, box, language) {
    this.rows = rows;
    this.choose(-1, box);
    const { element } = this;
    delete element.dataset.old;
    while (element.childElementCount > rows.length) element.lastElementChild.remove();
    while (element.childElementCount < rows.length) element.append(this.#row(element.childElementCount));
    rows.forEach(({ word, probability }, index) => {
      const [shown, track, share] = element.children[index].children;
      shown.textContent = word;
      track.firstChild.style.width = `${100 * probability}%`;
      share.textContent = percent(probability, language);
    });
    element.toggleAttribute("data-empty", !rows.length);
    this.#expanded(box);
  }

  /** What is seen stays, out of reach, until there is something newer: so nothing flickers. */
  wait(box) {
    this.rows = [];
    this.choose(-1, box);
    if (this.element.childElementCount) this.element.dataset.old = "";
    this.#expanded(box);
  }

  choose(index, box) {
    this.active = index;
    const rows = [...this.element.children];
    rows.forEach((row, at) => row.setAttribute("aria-selected", String(at === index)));
    if (index < 0) return box?.removeAttribute("aria-activedescendant");
    box.setAttribute("aria-activedescendant", rows[index].id);
    rows[index].scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Through the list and past its ends back to the box, where nothing is chosen. False when there is no list. */
  step(by, box) {
    const places = this.rows.length + 1;
    if (places === 1) return false;
    this.choose(((this.active + 1 + by + places) % places) - 1, box);
    return true;
  }

  #expanded(box) {
    if (box?.hasAttribute("aria-expanded")) box.setAttribute("aria-expanded", String(this.rows.length > 0));
  }

  #row(index) {
    const track = part("span", "track", part("span", "bar"));
    track.setAttribute("aria-hidden", "true");
    const row = part("div", "option", part("span", "word"), track, part("span", "share"));
    row.id = `${this.element.id}-${index}`;
    row.setAttribute("role", "option");
    row.addEventListener("pointerdown", (event) => event.preventDefault()); // the box keeps the focus, phones their keyboard
    row.addEventListener("click", () => this.rows[index] && this.take(this.rows[index]));
    return row;
  }
}

function percent(share, language) {
  const digits = share < 0.1 ? 1 : 0;
  const written = (value) => value.toLocaleString(language, { style: "percent", maximumFractionDigits: digits });
  return share < 0.001 ? `<${written(0.001)}` : written(share);
}
