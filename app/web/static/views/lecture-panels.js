/** The lecture's picture of a GAN: the two densities, the discriminator's curve, and below them the map from z to x. */
import { svg } from "../lib/dom.js";
import { drawing, line, path, text } from "./lecture-draw.js";

const EDGE = 2.5; // z at the ends of its line
const ROOM = 1.5; // height of the panel over the data's highest point

/** The curves between two moments: `head` 3.25 is a quarter of the way from the third to the fourth. */
export function between(frames, head) {
  const [from, to] = [frames[Math.floor(head)]?.curves, frames[Math.ceil(head)]?.curves];
  if (!from || !to) return null;
  const share = head - Math.floor(head);
  const mix = (name) => from[name].map((value, i) => value + share * (to[name][i] - value));
  return { ...from, generated: mix("generated"), discriminator: mix("discriminator"), mapped: mix("mapped") };
}

/** One panel. `curves()` gives what it shows, or null for none yet. */
export function panel({ label, small = false, curves, signal }) {
  const draw = (width, height, rem) => drawn(curves(), width, height, rem, small);
  return drawing({ name: small ? "lec-panel small" : "lec-panel", label, draw, signal });
}

function drawn(curves, width, height, rem, small) {
  const edge = small ? 4 : 2 * rem;
  const [left, right, top, bottom] = [small ? 4 : 1.5 * rem, width - edge, small ? 4 : rem, height - (small ? 4 : 0.75 * rem)];
  const floor = top + (small ? 0.68 : 0.7) * (bottom - top);
  const axis = line(left, floor, right, floor, "axis");
  const half = line(left, (top + floor) / 2, right, (top + floor) / 2, "half");
  if (!curves) return [half, axis];
  const [low, high] = [curves.x[0], curves.x.at(-1)];
  const across = (x) => left + ((x - low) / (high - low)) * (right - left);
  const highest = ROOM * Math.max(...curves.data);
  const height_ = (value) => floor - Math.min(1, value / highest) * (floor - top);
  const chance = (value) => floor - value * (floor - top);
  const xs = curves.x.map(across);
  return [
    half,
    ...arrows(curves, across, left, right, floor + (small ? 3 : 2.1 * rem), bottom, rem, small),
    svg("path", { class: "density made", d: path(xs, curves.generated.map(height_)) }),
    svg("path", { class: "density given", d: path(xs, curves.data.map(height_)) }),
    svg("path", { class: "judge", d: path(xs, curves.discriminator.map(chance)) }),
    axis,
    ...(small ? [] : labels(low, high, across, left, right, top, floor, bottom, rem)),
  ];
}

/** From equally likely z on the lower line to where G takes them: arrows are dense where much is generated. */
function arrows({ z, mapped, x }, across, left, right, top, bottom, rem, small) {
  const [middle, reach, head] = [(left + right) / 2, 0.3 * (right - left), small ? 3 : 0.3 * rem];
  const drawn = [line(middle - reach, bottom, middle + reach, bottom, "axis")];
  for (let i = 0; i < z.length; i += small ? 2 : 1) {
    if (mapped[i] < x[0] || mapped[i] > x.at(-1)) continue;
    const [from, to] = [middle + (reach * z[i]) / EDGE, across(mapped[i])];
    const angle = Math.atan2(top - bottom, to - from);
    const wing = (turn) => `${(to - head * Math.cos(angle + turn)).toFixed(1)} ${(top - head * Math.sin(angle + turn)).toFixed(1)}`;
    drawn.push(svg("path", { class: "arrow", d: `M${from.toFixed(1)} ${bottom}L${to.toFixed(1)} ${top}M${wing(0.45)}L${to.toFixed(1)} ${top}L${wing(-0.45)}` }));
  }
  return drawn;
}

function labels(low, high, across, left, right, top, floor, bottom, rem) {
  const said = [text(left - rem, floor + 0.3 * rem, "x", { class: "name" }), text(left - rem, bottom + 0.2 * rem, "z", { class: "name" })];
  for (const [value, name] of [[0, "0"], [0.5, "½"], [1, "1"]]) said.push(text(right + 0.5 * rem, floor - value * (floor - top) + 0.3 * rem, name, { class: "chance" }));
  const step = high - low > 12 ? 2 : 1;
  for (let x = Math.ceil(low / step) * step; x <= high; x += step) said.push(text(across(x), floor + 1.4 * rem, String(x), { class: "tick" }));
  return said;
}
