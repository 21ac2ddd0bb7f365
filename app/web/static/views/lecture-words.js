/** How words become numbers: the vocabulary, one-hot vectors to step through, and the network that they go into. */
import { fill, h, svg } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { drawing, line, text } from "./lecture-draw.js";

const HIDDEN = 5;

export function words({ signal }) {
  let lines = [];
  let at = 0;
  let vocabulary = [];
  const where = h("p", { class: "step-where", role: "status" });
  const grid = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t("lecture.words.grid") });
  const turn = (by) => {
    at = (at + by + lines.length) % lines.length;
    draw();
  };
  const steps = h("div", { class: "row" }, h("button", { type: "button", class: "small", onclick: () => turn(-1) }, t("lecture.words.back")), h("button", { type: "button", class: "small", onclick: () => turn(1) }, t("lecture.words.next")), where);
  const network = drawing({ name: "lec-network", draw: net, signal });
  const shape = h("ul", { class: "shape" });

  function row(word, label, kind) {
    const cells = vocabulary.map((each) => h("td", { class: each === word ? "one" : "zero" }, each === word ? "1" : "0"));
    return h("tr", { class: kind }, h("th", { scope: "row" }, h("span", { class: "muted" }, label), " ", word), cells);
  }

  function draw() {
    const sentence = lines[at].split(" ");
    where.textContent = t("lecture.words.where", { n: at + 1, all: lines.length, line: lines[at] });
    const head = h("tr", {}, h("th", { scope: "col" }, t("lecture.words.word")), vocabulary.map((word, i) => h("th", { scope: "col" }, h("span", { class: "upright" }, word), h("span", { class: "lec-number" }, String(i)))));
    const rows = [row(sentence[0], t("lecture.words.first"), "given"), row(sentence[1], t("lecture.words.second"), "given"), row(sentence[2], t("lecture.words.third"), "wanted")];
    fill(grid, h("table", { class: "one-hot" }, h("caption", { class: "visually-hidden" }, where.textContent), h("thead", {}, head), h("tbody", {}, rows)));
    const facts = [["n_step", 2], ["n_hidden", HIDDEN], ["n_class", vocabulary.length]];
    fill(shape, facts.map(([name, n]) => h("li", {}, h("strong", {}, String(n)), h("code", {}, name), h("span", {}, t(`lecture.words.${name}`)))));
    network.redraw();
  }

  /** From below: two one-hot words, the hidden states that pass something on, a number for every word. */
  function net(width, height, rem) {
    if (!lines.length) return [];
    const sentence = lines[at].split(" ");
    const n = vocabulary.length;
    const columns = [0.25 * width, 0.75 * width];
    const cell = Math.min(1.4 * rem, (0.44 * width) / n);
    const ball = Math.min(0.8 * rem, (0.42 * width) / HIDDEN / 2.6);
    const [low, middle, high] = [height - 3 * rem, 0.5 * height, 2.6 * rem];
    const strip = (x, y, word, kind) => vocabulary.map((each, i) => svg("rect", { x: x + (i - n / 2) * cell + 1, y: y - cell / 2, width: cell - 2, height: cell - 2, rx: 2, class: each === word ? `cell ${kind}` : "cell" }));
    const balls = (x) => Array.from({ length: HIDDEN }, (_, i) => svg("circle", { cx: x + (i - (HIDDEN - 1) / 2) * 2.6 * ball, cy: middle, r: ball, class: "ball" }));
    const up = (x, from, to) => arrow(x, from, x, to, rem);
    const edge = 2.6 * ball * 2.5;
    return [
      ...columns.flatMap((x, i) => [...strip(x, low, sentence[i], "on"), ...balls(x), up(x, low - 0.8 * cell, middle + 1.6 * ball), text(x, low + 2.1 * rem, sentence[i], { class: "word" })]),
      arrow(columns[0] + edge, middle, columns[1] - edge, middle, rem),
      ...strip(columns[1], high, sentence[2], "answer"),
      up(columns[1], middle - 1.6 * ball, high + 0.8 * cell),
      text(columns[1], high - 1.2 * rem, sentence[2], { class: "word" }),
      text(columns[0], middle - 2 * ball - 0.4 * rem, `LSTM · ${HIDDEN}`, { class: "name" }),
      text((columns[0] + columns[1]) / 2, middle - 0.6 * rem, "h, c", { class: "name" }),
      text(columns[0], high + 0.3 * rem, t("lecture.words.scores", { n }), { class: "name" }),
    ];
  }

  function show(given) {
    lines = given;
    at = Math.min(at, lines.length - 1);
    vocabulary = [...new Set(lines.join(" ").split(" "))];
    draw();
  }
  return { element: h("div", { class: "stack" }, steps, grid), network: h("div", { class: "stack" }, network, shape), show };
}

function arrow(x1, y1, x2, y2, rem) {
  const [angle, size] = [Math.atan2(y2 - y1, x2 - x1), 0.4 * rem];
  const wing = (turn) => [x2 - size * Math.cos(angle + turn), y2 - size * Math.sin(angle + turn)];
  const [[ax, ay], [bx, by]] = [wing(0.5), wing(-0.5)];
  return svg("g", { class: "flow" }, line(x1, y1, x2, y2), line(ax, ay, x2, y2), line(bx, by, x2, y2));
}
