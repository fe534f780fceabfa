// Every state has a URL. What is chosen becomes a step of the history; what is typed or dragged changes the last one.

export const params = () => new URLSearchParams(location.search);

export function write(made, { push = false } = {}) {
  const query = made.toString();
  const to = location.pathname + (query ? `?${query}` : "");
  if (to === location.pathname + location.search) return;
  history[push ? "pushState" : "replaceState"](null, "", to);
}

/** Call when somebody goes back or forward. */
export function onTravel(work) {
  addEventListener("popstate", () => work(params()));
}
