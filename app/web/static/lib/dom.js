/** Elements, made and filled. Text goes in as text: nothing here parses HTML. */

/**
 * `h("button", { class: "primary", onclick: go, disabled: busy }, "Go")`. Properties that start with `on` are listeners,
 * `class`, `data-…`, `aria-…` and what is no property of the element are attributes; null and false children are left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = typeof tag === "string" ? document.createElement(tag) : tag;
  set(element, properties);
  element.append(...flat(children));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for drawings. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== false) element.setAttribute(name, value);
  element.append(...flat(children));
  return element;
}

export function set(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !/^(class|list|form|aria|data)/.test(name)) element[name] = value ?? "";
    else if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

/** Put `children` in the place of what `element` holds. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

const flat = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** Call `make(signal)` for the newest only: a new call aborts the one before. Answers of aborted ones are undefined. */
export function latest(make) {
  let controller;
  const run = async (...given) => {
    controller?.abort();
    const mine = (controller = new AbortController());
    try {
      const answer = await make(mine.signal, ...given);
      return mine.signal.aborted ? undefined : answer;
    } catch (error) {
      if (mine.signal.aborted) return undefined;
      throw error;
    }
  };
  run.abort = () => controller?.abort();
  return run;
}

export function debounce(milliseconds, act) {
  let timer;
  const run = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(act, milliseconds, ...given);
  };
  run.cancel = () => clearTimeout(timer);
  return run;
}

/** A finished animation frame: what was changed is laid out. */
export const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
