/** A slider through what happened, with a button that plays it. It follows a run that still goes on. */
import { h, set } from "../lib/dom.js";
import { t } from "../lib/i18n.js";

const PER_SECOND = 9; // frames shown, at least; more when the newest runs ahead
const STEADY = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * @param {{label: string, run: EventTarget, total: number, caption: (frame: object) => string,
 *   show: (head: number) => void, signal: AbortSignal}} options `total`: the last frame's place when all is done;
 *   `show` is told where between the frames the story stands, and draws it.
 */
export function story({ label, run, total, caption, show, signal }) {
  let head = 0;
  let playing = false;
  let resting = true; // nothing to move: no frame is asked for, and a training beside the page has the cores to itself
  let before = 0;
  const slider = h("input", { type: "range", min: 0, max: total, step: 1, value: 0, "aria-label": label });
  const said = h("output", { class: "story-said" });
  const button = h("button", { type: "button", class: "story-play" });
  const newest = () => run.frames.length - 1;

  function draw() {
    const frame = run.frames[Math.round(head)];
    slider.value = head;
    said.textContent = frame ? caption(frame) : "";
    set(slider, { "aria-valuetext": said.textContent || "0" });
    button.textContent = t(playing ? "lecture.story.pause" : "lecture.story.play");
    set(button, { "aria-disabled": newest() < 1 ? "true" : null });
    show(head);
  }

  function tick(now) {
    resting = true;
    if (!playing || signal.aborted) return;
    const speed = Math.max(PER_SECOND, 1.5 * (newest() - head));
    head = Math.max(0, Math.min(newest(), head + (speed * Math.min(now - before, 100)) / 1000));
    before = now;
    if (head >= newest() && !run.busy) playing = false;
    if (STEADY.matches) {
      const whole = head;
      head = Math.floor(head); // from evaluation to evaluation, nothing in between
      draw();
      head = whole;
    } else draw();
    if (head < newest()) move();
  }

  function move() {
    if (!playing || !resting) return;
    resting = false;
    requestAnimationFrame(tick);
  }

  /** Go on, where the story had come to its newest frame and waited. */
  function wake() {
    if (resting) before = performance.now();
    move();
  }

  function play() {
    playing = true;
    wake();
  }

  slider.addEventListener("input", () => {
    head = Math.min(Number(slider.value), Math.max(0, newest()));
    const follows = run.busy && head >= newest();
    if (!follows) playing = false;
    else if (!playing) play();
    draw();
  });
  button.addEventListener("click", () => {
    if (newest() < 1) return;
    if (playing) playing = false;
    else {
      if (head >= newest() && !run.busy) head = 0;
      play();
    }
    draw();
  });
  run.addEventListener("change", () => {
    if (run.status === "sending") {
      head = 0;
      if (run.isOld) playing = false;
      else play();
    } else if (run.isOld && !run.busy) head = Math.max(0, newest());
    if (playing) wake();
    else draw();
  }, { signal });
  run.addEventListener("frame", wake, { signal });

  const element = h("div", { class: "lec-story" }, button, slider, said);
  /** To be called once all that `show` draws into is there. */
  element.begin = () => {
    head = Math.max(0, newest());
    if (run.busy) play();
    draw();
  };
  return element;
}
