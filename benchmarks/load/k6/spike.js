// A quiet minute, five times RATE at once for a minute, and quiet again: what is shed, and does it come back?
import { ask, seconds, thresholds } from "./chat.js";

const rate = Number(__ENV.RATE || 10);
export const options = {
  thresholds,
  scenarios: {
    spike: {
      executor: "ramping-arrival-rate", startRate: rate, timeUnit: "1s",
      preAllocatedVUs: rate * 10, maxVUs: rate * 300,
      stages: [
        { target: rate, duration: seconds(60) },
        { target: rate * 5, duration: "1s" },
        { target: rate * 5, duration: seconds(60) },
        { target: rate, duration: "1s" },
        { target: rate, duration: seconds(120) },
      ],
    },
  },
};
export default () => ask(__ENV.KEY, 256);
