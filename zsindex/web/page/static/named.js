// Pages of things that have names: the address says which one is shown, and what photo is open over it.

import { h } from "./dom.js";
import { OpenPhoto, write } from "./url.js";

export class Named {
  /** `kinds` are the parameters of the address that name something; `show()` shows what is named. */
  constructor(kinds, show) {
    Object.assign(this, { kinds, show });
    this.kind = this.name = null;
    this.open = new OpenPhoto((push, state) => this.write(push, state));
  }

  is(kind, name) { return this.kind === kind && this.name === name; }

  read(query) {
    this.kind = this.kinds.find((kind) => query.get(kind)) ?? null;
    this.name = this.kind && query.get(this.kind);
    this.open.read(query);
  }

  write(push = false, state = null) {
    const query = new URLSearchParams(this.name ? { [this.kind]: this.name } : {});
    this.open.add(query);
    write(query, { push, state });
  }

  /** Show another one, or none: a step of the history, unless what was shown is no more. */
  go(kind = null, name = null, { push = true } = {}) {
    Object.assign(this, { kind, name });
    this.open.id = null;
    this.write(push);
    return this.show();
  }

  /** A link to one, which this page follows by itself unless it is to be seen beside. */
  link(kind, name, ...children) {
    return h("a", {
      href: `?${new URLSearchParams({ [kind]: name })}`, "aria-current": this.is(kind, name) ? "true" : null,
      onclick: (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        this.go(kind, name);
      },
    }, ...children);
  }
}

/** Ask whether something is to be deleted. Resolves to whether it is. */
export function sure(what, name, text) {
  const form = h("form", { method: "dialog" }, h("h2", {}, `Delete “${name}”?`), h("p", {}, text),
    h("div", { class: "buttons" }, h("button", { value: "" }, "Keep it"), h("button", { value: "delete", class: "primary" }, "Delete")));
  const dialog = h("dialog", { class: "small", "aria-label": `Delete the ${what}` }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "delete");
    });
  });
}
