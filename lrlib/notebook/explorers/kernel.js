// The playground's kernel in WebAssembly: the functions of `plainKernel` in engine.js, on two numbers
// at a time. They add and multiply in the same order, so a network ends with the same bits.
//
// The module is written here, byte by byte, by the assembler below: then no compiler is needed, a
// reader sees all of it, and its text can be sent to a worker. What the bytes mean is in the
// WebAssembly specification, under "Binary Format".

// Gives the kernel; or null in a browser that doesn't know WebAssembly or its arithmetic on two numbers
// at a time, or that a page's policy forbids it. It uses nothing outside itself.
function makeKernel() {
  const [I32, F64, TWO] = [0x7f, 0x7c, 0x7b]; // types; TWO is v128, here always two F64

  // --- An assembler: each function gives the bytes of an expression ------------------------------

  // A stack machine: the operands come first, then the operation.
  const operation = (...code) => (...operands) => [...operands.flat(), ...code];
  const [plus, times, below] = [0x6a, 0x6c, 0x49].map((code) => operation(code)); // i32: add, mul, lt_u
  const int = (value) => [0x41, (value & 127) | 128, value >> 7]; // up to 8191
  const twice = operation(0xfd, 0x14); // f64x2.splat
  const real = (value) => twice([0x44, ...new Uint8Array(Float64Array.of(value).buffer)]);
  // f64x2: sqrt, add, sub, mul, div, pmax
  const [root, add, subtract, multiply, divide, larger] = [0xef, 0xf0, 0xf1, 0xf2, 0xf3, 0xf7].map((code) => operation(0xfd, code, 1));
  const [unequal, and] = [0x48, 0x4e].map((code) => operation(0xfd, code)); // all bits, or none, of each
  const shuffle = (...halves) => operation(0xfd, 0x0d, ...halves.flatMap((half) => [0, 1, 2, 3, 4, 5, 6, 7].map((i) => 8 * half + i)));
  const [firsts, seconds] = [shuffle(0, 2), shuffle(1, 3)]; // of two pairs
  const load = (address, offset = 0) => [...address, 0xfd, 0x00, 3, offset];
  const loadTwice = (address) => [...address, 0xfd, 0x0a, 3, 0]; // one number, two times
  const store = (address, value, offset = 0) => [...address, ...value, 0xfd, 0x0b, 3, offset];
  // A variable is the bytes that read it.
  const set = (variable, value) => [...value, 0x21, variable[1]];
  const move = (variable, distance) => set(variable, plus(variable, distance));
  // From 0 while the variable is below `end`, which is more than 0.
  const repeat = (variable, step, end, ...body) => [
    ...set(variable, int(0)),
    ...[0x03, 0x40, ...body.flat(), ...move(variable, int(step)), ...below(variable, end), 0x0d, 0, 0x0b],
  ];
  // Places in `numbers` as addresses, which count bytes: a number has eight.
  const toBytes = (...variables) => variables.flatMap((variable) => set(variable, times(variable, int(8))));

  // A function, from the types of its parameters, and what gives its body from them and `local`,
  // which makes one more variable.
  function define(name, params, body) {
    const types = [...params];
    const local = (type) => [0x20, types.push(type) - 1];
    const code = body(params.map((_, i) => [0x20, i]), local).flat();
    const locals = types.slice(params.length).flatMap((type) => [1, type]);
    return { name, params, code: [types.length - params.length, ...locals, ...code, 0x0b] };
  }

  function assemble(functions) {
    const size = (count) => (count < 128 ? [count] : [(count & 127) | 128, ...size(count >> 7)]);
    const list = (items) => [...size(items.length), ...items.flat()];
    const section = (id, items) => [id, ...size(list(items).length), ...list(items)];
    const text = (name) => list([...name].map((letter) => letter.charCodeAt(0)));
    return Uint8Array.from([
      ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      ...section(1, functions.map(({ params }) => [0x60, ...list(params), 0])),
      ...section(3, functions.map((_, i) => i)),
      ...section(5, [[1, 16, 16]]), // a memory of 16 pages, 1 MiB
      ...section(7, [[...text("memory"), 2, 0], ...functions.map(({ name }, i) => [...text(name), 0, i])]),
      ...section(10, functions.map(({ code }) => list(code))),
    ]);
  }

  // --- The functions: what they do stands in engine.js -------------------------------------------

  // Two rows and eight columns at a time, in eight sums of two numbers.
  const product = define("product", Array(10).fill(I32), ([rows, columns, terms, out, outRow, a, aRow, aTerm, b, bTerm], local) => {
    const [row, column, term, i, j, k] = Array(6).fill(I32).map(local);
    const sums = Array(8).fill(TWO).map(local);
    const right = Array(4).fill(TWO).map(local);
    const left = local(TWO);
    const next = (half) => sums.slice(4 * half, 4 * half + 4).flatMap((sum, at) => set(sum, add(sum, multiply(left, right[at]))));
    const keep = (half) => sums.slice(4 * half, 4 * half + 4).flatMap((sum, at) => store(k, sum, 16 * at));
    return [
      toBytes(columns, out, outRow, a, aRow, aTerm, b, bTerm),
      repeat(
        row, 2, rows,
        repeat(
          column, 64, columns,
          sums.flatMap((sum) => set(sum, real(0))),
          set(i, a),
          set(j, plus(b, column)),
          repeat(
            term, 1, terms,
            right.flatMap((two, at) => set(two, load(j, 16 * at))),
            set(left, loadTwice(i)),
            next(0),
            set(left, loadTwice(plus(i, aRow))),
            next(1),
            move(i, aTerm),
            move(j, bTerm),
          ),
          set(k, plus(out, column)),
          keep(0),
          move(k, outRow),
          keep(1),
        ),
        move(a, plus(aRow, aRow)),
        move(out, plus(outRow, outRow)),
      ),
    ];
  });

  const activate = define("activate", [I32, I32, I32, I32, F64], ([rows, columns, out, bias, floor], local) => {
    const [row, column] = [I32, I32].map(local);
    const [added, least] = [TWO, TWO].map(local);
    return [
      toBytes(out, bias),
      set(least, twice(floor)),
      repeat(
        row, 1, rows,
        set(added, loadTwice(bias)),
        // `larger` gives its first operand if that isn't a number, so that it stays visible.
        repeat(column, 2, columns, store(out, larger(add(load(out), added), least)), move(out, int(16))),
        move(bias, int(8)),
      ),
    ];
  });

  const mask = define("mask", [I32, I32, I32], ([size, change, out], local) => {
    const k = local(I32);
    return [
      toBytes(change, out),
      repeat(k, 2, size, store(change, and(load(change), unequal(load(out), real(0)))), move(change, int(16)), move(out, int(16))),
    ];
  });

  // Squares of two by two numbers.
  const transpose = define("transpose", [I32, I32, I32, I32], ([rows, columns, out, a], local) => {
    const [row, column, i, k, aRow, outRow] = Array(6).fill(I32).map(local);
    const [upper, lower] = [TWO, TWO].map(local);
    return [
      toBytes(out, a),
      set(aRow, times(columns, int(8))),
      set(outRow, times(rows, int(8))),
      repeat(
        row, 2, rows,
        set(i, a),
        set(k, out),
        repeat(
          column, 2, columns,
          set(upper, load(i)),
          set(lower, load(plus(i, aRow))),
          store(k, firsts(upper, lower)),
          store(plus(k, outRow), seconds(upper, lower)),
          move(i, int(16)),
          move(k, plus(outRow, outRow)),
        ),
        move(a, plus(aRow, aRow)),
        move(out, int(16)),
      ),
    ];
  });

  const sgd = define("sgd", [I32, I32, I32, I32, F64, F64, F64, F64, F64], ([size, w, m, gradient, ...numbers], local) => {
    const [rate, decay, momentum, direct, along, g, moment] = Array(7).fill(TWO).map(local);
    const i = local(I32);
    return [
      toBytes(w, m, gradient),
      [rate, decay, momentum, direct, along].flatMap((two, at) => set(two, twice(numbers[at]))),
      repeat(
        i, 2, size,
        set(g, add(load(gradient), multiply(decay, load(w)))),
        set(moment, add(multiply(momentum, load(m)), g)),
        store(m, moment),
        store(w, subtract(load(w), multiply(rate, add(multiply(direct, g), multiply(along, moment))))),
        [w, m, gradient].flatMap((address) => move(address, int(16))),
      ),
    ];
  });

  const adam = define("adam", [I32, I32, I32, I32, I32, F64, F64, F64, F64], ([size, w, m, v, gradient, ...numbers], local) => {
    const [step, decay, shrink, second, g, moment, square] = Array(7).fill(TWO).map(local);
    const i = local(I32);
    return [
      toBytes(w, m, v, gradient),
      [step, decay, shrink, second].flatMap((two, at) => set(two, twice(numbers[at]))),
      repeat(
        i, 2, size,
        set(g, add(load(gradient), multiply(decay, load(w)))),
        set(moment, add(load(m), multiply(real(0.1), subtract(g, load(m))))),
        set(square, add(multiply(real(0.999), load(v)), multiply(multiply(real(0.001), g), g))),
        store(m, moment),
        store(v, square),
        store(w, subtract(multiply(shrink, load(w)), divide(multiply(step, moment), add(divide(root(square), second), real(1e-8))))),
        [w, m, v, gradient].flatMap((address) => move(address, int(16))),
      ),
    ];
  });

  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(assemble([product, activate, mask, transpose, sgd, adam])));
    return { ...exports, name: "WebAssembly", numbers: new Float64Array(exports.memory.buffer) };
  } catch {
    return null;
  }
}
