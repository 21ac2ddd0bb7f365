import { h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";

export default function show(root) {
  h(root, {}, h("h1", {}, t("nav.models")));
}
