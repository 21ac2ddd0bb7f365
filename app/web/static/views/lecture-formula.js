/** The lecture's objective, set as mathematics. It breaks between its terms where the page is narrow. */
import { h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";

const MATH = "http://www.w3.org/1998/Math/MathML";

function m(tag, ...children) {
  const element = document.createElementNS(MATH, tag);
  element.append(...children);
  return element;
}
const i = (name) => m("mi", name);
const still = (element) => (element.setAttribute("stretchy", "false"), element);
const o = (sign) => still(m("mo", sign));
const row = (...children) => m("mrow", ...children);
const of = (name, ...inner) => row(i(name), o("("), ...inner, o(")"));
const expected = (under, ...inner) => row(m("msub", i("E"), under), o("["), ...inner, o("]"));
const from = (what, where) => row(i(what), o("∼"), m("msub", i("p"), where), o("("), i(what), o(")"));
const best = (how, who) => m("munder", m("mo", how), i(who));

/** A term with what it is about below it. */
function term(expression, below) {
  return h("span", { class: "term" }, m("math", expression), below ? h("span", { class: "term-name" }, t(below)) : null);
}

export function formula() {
  const d = of("V", i("D"), o(","), i("G"));
  return h(
    "div",
    { class: "lec-formula" },
    term(row(best("min", "G"), best("max", "D"), d, o("="))),
    term(expected(from("x", m("mtext", "data")), i("log"), of("D", i("x"))), "lecture.gan.formula.data"),
    term(row(o("+"), expected(from("z", i("z")), i("log"), o("("), m("mn", "1"), o("−"), of("D", of("G", i("z"))), o(")"))), "lecture.gan.formula.noise"),
  );
}
