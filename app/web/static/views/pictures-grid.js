/** A wall of pictures that is walked with the arrow keys. It must not know where they come from. */
import { fill, h } from "../lib/dom.js";
import { percent, t } from "../lib/i18n.js";

const STEPS = {
  ArrowLeft: () => -1,
  ArrowRight: () => 1,
  ArrowUp: (columns) => -columns,
  ArrowDown: (columns) => columns,
};

/** `open(picture)` and `choose(picture)` are called; a listbox, because what is chosen is read with each picture. */
export function gallery({ open, choose }) {
  const list = h("ul", {
    class: "gallery",
    role: "listbox",
    "aria-multiselectable": "true",
    "aria-label": t("pictures.gallery"),
    "aria-describedby": "pictures-keys",
    onkeydown: onKey,
    onfocusin: ({ target }) => roam(cells.findIndex(({ element }) => element === target)),
  });
  let cells = []; // {element, image, bar, picture}
  let at = 0;

  const element = h("div", { class: "gallery-frame" }, list);
  const wall = {
    element,
    get filled() {
      return cells.some(({ picture }) => picture);
    },

    /** Places for `count` pictures. Those that are there stay until others come. */
    reserve(count, size) {
      list.dataset.size = size;
      if (cells.length === count) return;
      cells = Array.from({ length: count }, (_, index) => cells[index] ?? cell());
      fill(
        list,
        cells.map(({ element }) => element),
      );
      at = Math.min(at, count - 1);
    },

    show(pictures, size) {
      wall.reserve(pictures.length, size);
      cells.forEach((each, index) => {
        each.picture = pictures[index];
        each.image.src = pictures[index].src;
        each.image.hidden = false;
        each.bar.style.width = `${100 * pictures[index].realness}%`;
        each.element.setAttribute("aria-label", nameOf(pictures[index]));
      });
      roam(at);
    },

    mark(how) {
      for (const { element, picture } of cells) {
        if (!picture) continue;
        const { open, chosen } = how(picture);
        element.classList.toggle("open", open);
        element.setAttribute("aria-selected", String(chosen));
      }
    },

    focus() {
      cells[0]?.element.focus();
    },
  };
  return wall;

  function cell() {
    const made = {
      picture: null,
      image: h("img", { class: "pixels", alt: "", hidden: true, draggable: false }),
      bar: h("span", { class: "meter-bar" }),
    };
    const corner = h("span", {
      class: "corner-mark",
      "aria-hidden": "true",
      title: t("pictures.choose"),
      onclick: (event) => (event.stopPropagation(), act(made, choose)),
    });
    made.element = h(
      "li",
      {
        role: "option",
        tabindex: -1,
        "aria-selected": "false",
        "aria-label": t("pictures.waiting"),
        onclick: () => act(made, open),
      },
      h("span", { class: "frame" }, made.image),
      h("span", { class: "meter-track", "aria-hidden": "true" }, made.bar),
      corner,
    );
    return made;
  }

  function act(made, what) {
    if (!made.picture) return;
    made.element.focus({ preventScroll: true });
    what(made.picture);
  }

  /** Only one picture is in the order of Tab: the one that was last gone to. */
  function roam(index) {
    at = index;
    cells.forEach(({ element }, each) => (element.tabIndex = each === index ? 0 : -1));
  }

  function onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const columns = getComputedStyle(list).gridTemplateColumns.split(" ").length;
    const there =
      { Home: 0, End: cells.length - 1 }[event.key] ?? (event.key in STEPS ? at + STEPS[event.key](columns) : null);
    if (there !== null) {
      event.preventDefault();
      if (there < 0 || there >= cells.length) return;
      cells[there].element.focus();
    } else if ([" ", "Enter"].includes(event.key) && cells[at]?.picture) {
      event.preventDefault();
      (event.key === " " ? choose : open)(cells[at].picture);
    }
  }
}

/** A picture in words. Its address says how it was made ("9~2@0.3", "2x8~1"); that is not for reading aloud. */
export function nameOf({ latent, label }) {
  const name = made(latent);
  return label === null ? name : t("pictures.name.label", { name, label });
}

const SEED = /^\d+$/;

function made(latent) {
  if (SEED.test(latent)) return t("pictures.name", { latent });
  const [, like, like_n] = /^(.+)~(\d+)@[\d.]+$/.exec(latent) ?? [];
  if (like) return t(SEED.test(like) ? "pictures.name.like" : "pictures.name.like-made", { of: like, i: like_n });
  const [, parents, child_n] = /^(.+x.+)~(\d+)$/.exec(latent) ?? [];
  if (parents) {
    const [a, b] = parents.split("x");
    return t(SEED.test(a) && SEED.test(b) ? "pictures.name.child" : "pictures.name.child-made", { a, b, i: child_n });
  }
  const [, from, to, share] = /^(.+)_(.+)@([\d.]+)$/.exec(latent) ?? [];
  if (!from) return t("pictures.name", { latent });
  const names = SEED.test(from) && SEED.test(to) ? "pictures.name.between" : "pictures.name.between-made";
  return t(names, { a: from, b: to, share: percent(Number(share)) });
}

/** What stands over pictures that were made of `origins`: one that they are like, or two parents. */
export function madeOf([a, b]) {
  const seeds = [a, b].every((each) => !each || SEED.test(each.latent));
  if (!b) return seeds ? t("pictures.like", a) : t("pictures.like.this");
  return seeds ? t("pictures.children", { a: a.latent, b: b.latent }) : t("pictures.children.these");
}
