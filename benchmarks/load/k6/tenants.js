// Two tenants: one that asks little and steadily, one that floods. The steady one must not notice.
// KEY_STEADY and KEY_FLOOD are keys of two tenants; without keys both are anonymous.
import { ask, seconds, thresholds } from "./chat.js";

const rate = Number(__ENV.RATE || 4);
export const options = {
  thresholds: {
    ...thresholds,
    "answered{scenario:steady}": [`p(95)<${__ENV.STEADY_P95_MS || 10000}`],
    "shed{scenario:steady}": ["count<1"],
  },
  scenarios: {
    steady: {
      executor: "constant-arrival-rate", exec: "steady", rate, timeUnit: "1s", duration: seconds(300),
      preAllocatedVUs: rate * 4, maxVUs: rate * 120,
    },
    flood: {
      executor: "constant-arrival-rate", exec: "flood", rate: rate * 10, timeUnit: "1s",
      startTime: seconds(60), duration: seconds(180), preAllocatedVUs: rate * 40, maxVUs: rate * 1200,
    },
  },
};
export const steady = () => ask(__ENV.KEY_STEADY, 128);
export const flood = () => ask(__ENV.KEY_FLOOD, 512);
