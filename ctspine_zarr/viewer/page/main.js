// The page begins here, over the local server.

import { App } from "./app.js";
import { ServerSource } from "./source.js";

const app = new App(new ServerSource());
// For a look from the browser's console, and for tests.
globalThis.viewer = app;
app.start().catch((error) => app.tell(error));
