// What this browser keeps of how somebody likes the page. Without storage it lasts as long as the page.

const here = new Map();

export function kept(name, otherwise) {
  try {
    return localStorage.getItem(`zsindex.${name}`) ?? here.get(name) ?? otherwise;
  } catch {
    return here.get(name) ?? otherwise;
  }
}

export function keep(name, value) {
  here.set(name, value);
  try { localStorage.setItem(`zsindex.${name}`, value); } catch { /* it is switched off, or full */ }
}
