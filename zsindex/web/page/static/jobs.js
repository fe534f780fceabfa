// Jobs of the service, as they go on.

import { reach, url } from "./api.js";

export const ENDED = ["done", "failed", "cancelled"];

/** Have `tell(job)` called with a job now and at every change, until it has ended, also of a service that was started again. */
export function watch(id, tell) {
  let events;
  const end = () => {
    events.close();
    reach.removeEventListener("back", open);
  };
  const open = () => {
    events?.close();
    events = new EventSource(url(`/v1/jobs/${id}/events`));
    events.addEventListener("job", (event) => {
      const job = JSON.parse(event.data);
      if (ENDED.includes(job.state)) end();
      tell(job);
    });
  };
  reach.addEventListener("back", open);
  open();
}
