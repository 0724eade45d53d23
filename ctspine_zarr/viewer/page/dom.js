// Elements. Whatever a store says is set as text, never as markup.

/**
 * An element with attributes, listeners (`on...`) and children, which are elements or texts.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Object<string, any>} [attributes] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * A list to choose from.
 * @param {string} title
 * @param {[string, string][]} options Value and text.
 * @param {(value: string) => void} chosen
 */
export function choice(title, options, chosen) {
  const select = make("select", { title, "aria-label": title, onchange: () => chosen(select.value) });
  select.append(...options.map(([value, text]) => make("option", { value }, text)));
  return select;
}

/** A square of a colour. @param {string} colour */
export function swatch(colour) {
  const element = make("span", { className: "swatch" });
  element.style.backgroundColor = colour;
  return element;
}
