// Four hours at RATE: leaks, drifting latency, files that fill up.
import { ask, seconds, thresholds } from "./chat.js";

const rate = Number(__ENV.RATE || 5);
export const options = {
  thresholds,
  scenarios: {
    soak: {
      executor: "constant-arrival-rate", rate, timeUnit: "1s", duration: seconds(14400),
      preAllocatedVUs: rate * 4, maxVUs: rate * 120,
    },
  },
};
export default () => ask(__ENV.KEY, 256);
