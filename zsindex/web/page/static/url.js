// Every state has a URL. What is chosen becomes a step of the history; what is typed or dragged changes the last one.
//
// Hundreds of labels make an address that servers and proxies refuse: a long state stands behind the #, which is not sent.

const LONGEST = 4000;
const IN_HASH = "#?";

export const params = () => new URLSearchParams(location.hash.startsWith(IN_HASH) ? location.hash.slice(IN_HASH.length) : location.search);

export function write(made, { push = false } = {}) {
  const query = made.toString();
  const to = location.pathname + (query ? (query.length > LONGEST ? IN_HASH : "?") + query : "");
  if (to === location.pathname + location.search + location.hash) return;
  history[push ? "pushState" : "replaceState"](null, "", to);
}

/** Call when somebody goes back or forward. */
export function onTravel(work) {
  addEventListener("popstate", () => work(params()));
}

// The link past the bar moves the focus, and leaves the address as it is.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
