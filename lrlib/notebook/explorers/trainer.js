// Runs the engine beside the page: in a worker where the browser allows one, else in the page
// itself, a piece at a time; with the kernel in WebAssembly where the browser allows that, else in
// plain JavaScript. A newer order ends the older one.

// Trains one setting after the other until `stopped()`, and tells each epoch and the kernel. `pause` gives others
// their turn; it is awaited whenever `slice` milliseconds have passed.
async function trainAll(engine, digits, settings, { tell, stopped, pause, slice }) {
  let began = performance.now();
  for (const { name, setting } of settings) {
    for (const told of engine.train(setting, engine.unpack(digits, setting.noisy))) {
      if (told) tell({ name, told, done: told.epoch === setting.epochs - 1, kernel: engine.kernel });
      if (performance.now() - began < slice) continue;
      await pause();
      if (stopped()) return;
      began = performance.now();
    }
  }
}

// The worker's side: an order is {id, digits, settings}.
function serve(engine, work) {
  let latest;
  const { port1, port2 } = new MessageChannel();
  const pause = () =>
    new Promise((go) => {
      port1.onmessage = go;
      port2.postMessage(null); // sooner than a timer, but after the messages that wait
    });
  onmessage = ({ data: order }) => {
    latest = order.id;
    const tell = (news) => postMessage({ id: order.id, ...news });
    work(engine, order.digits, order.settings, { tell, stopped: () => latest !== order.id, pause, slice: 25 });
  };
}

// A worker from the text of these functions, so that it needs no file and runs from file:// too.
function startWorker() {
  const source = `(${serve})((${makeEngine})(${plateau}, (${makeKernel})()), ${trainAll})`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address);
  URL.revokeObjectURL(address);
  return worker;
}

// Gives a function that takes orders, lists of {name, setting}. `tell` hears {name, told, done,
// kernel}, and `trouble` that there is no worker any more, or (then with true) that nothing can be trained.
function makeTrainer(digits, tell, trouble) {
  const patience = 20_000;
  let [worker, engine, id, waiting, order] = [undefined, undefined, 0, 0, []];

  async function here() {
    const mine = id;
    const pause = () => new Promise((go) => setTimeout(go));
    try {
      engine ??= makeEngine(plateau, makeKernel());
      await trainAll(engine, digits, order, { tell: (news) => hear({ id: mine, ...news }), stopped: () => id !== mine, pause, slice: 0 });
    } catch (error) {
      trouble(`The training failed in this browser (${error.message}).`, true);
    }
  }

  function withoutWorker() {
    clearTimeout(waiting);
    worker?.terminate();
    worker = null;
    trouble("The browser has no background training here, or it stopped, so the page trains by itself, more slowly.");
    here();
  }

  function hear(news) {
    if (news.id !== id) return;
    clearTimeout(waiting);
    order = order.filter(({ name }) => !(news.done && news.name === name));
    if (worker && order.length) waiting = setTimeout(withoutWorker, patience);
    tell(news);
  }

  return (settings) => {
    [id, order] = [id + 1, settings];
    clearTimeout(waiting);
    if (worker === undefined) {
      try {
        worker = startWorker();
        worker.onmessage = ({ data }) => hear(data);
        worker.onerror = (event) => {
          event.preventDefault();
          withoutWorker();
        };
      } catch {
        return withoutWorker();
      }
    }
    if (worker === null) return here();
    worker.postMessage({ id, digits, settings });
    if (settings.length) waiting = setTimeout(withoutWorker, patience);
  };
}
