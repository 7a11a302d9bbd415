//! Core modules as a C toolchain would write them, by hand: all answers are zeros in their memory.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the low bits are what is meant"
)]

/// Locals of a bomb's function: each branch must merge them all.
const BOMB_LOCALS: usize = 2_000;

/// Calls `random_get` of WASI preview 1 in `send`, so that the adapter is in use.
pub fn core_module() -> Vec<u8> {
    with_function(None, None)
}

/// Accepts every configuration and traps in every `send`.
pub fn trapping_module() -> Vec<u8> {
    with_function(Some(&[0]), None)
}

/// Accepts every configuration and computes for ever in every `send`.
pub fn looping_module() -> Vec<u8> {
    with_function(Some(&[0x03, 0x40, 0x0c, 0, 0x0b, 0]), None)
}

/// The same module with a custom section more: another hash, the same behaviour. `mark` is at most 100 bytes.
pub fn marked(module: &[u8], mark: &str) -> Vec<u8> {
    let name = text(mark);
    [module, &[0, name.len() as u8], &name].concat()
}

/// The same with a function more that is small, valid and takes ages to compile: `branches` of them over thousands
/// of locals. 12,000 are 150 KB and take 6 s and 860 MB.
pub fn compile_bomb(branches: usize) -> Vec<u8> {
    let mut body = [unsigned(1), unsigned(BOMB_LOCALS), vec![0x7f]].concat();
    for n in 0..branches {
        let local = |from: usize| unsigned((n * 7 + from) % BOMB_LOCALS);
        // if (a) { c = b }
        let branch = [
            vec![0x20],
            local(0),
            vec![0x04, 0x40, 0x20],
            local(1),
            vec![0x21],
            local(2),
            vec![0x0b],
        ];
        body.extend(branch.concat());
    }
    body.extend([0x20, 0, 0x0b]);
    with_function(None, Some(&body))
}

/// With another code of `send`, and a function more.
fn with_function(send: Option<&[u8]>, more: Option<&[u8]>) -> Vec<u8> {
    const I32: u8 = 0x7f;
    let handler = |name: &str| format!("postrider:notifier/handler@1.0.0#{name}");
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    // () -> i32, (i32) -> i32, (i32, i32) -> i32, (i32, i32, i32, i32) -> i32
    let types = [0, 1, 2, 4]
        .map(|count| [vec![0x60, count], vec![I32; usize::from(count)], vec![1, I32]].concat());
    section(&mut module, 1, &types);
    section(
        &mut module,
        2,
        &[[text("wasi_snapshot_preview1"), text("random_get"), vec![0, 2]].concat()],
    );
    let mut functions = vec![vec![0], vec![2], vec![1], vec![3]];
    functions.extend(more.map(|_| vec![0]));
    section(&mut module, 3, &functions);
    section(&mut module, 5, &[vec![0, 64]]);
    section(&mut module, 6, &[[vec![I32, 1, 0x41], signed(65_536), vec![0x0b]].concat()]);
    let exports = [
        [text(&handler("describe")), vec![0, 1]].concat(),
        [text(&handler("configure")), vec![0, 2]].concat(),
        [text(&handler("send")), vec![0, 3]].concat(),
        [text("cabi_realloc"), vec![0, 4]].concat(),
        [text("memory"), vec![2, 0]].concat(),
    ];
    section(&mut module, 7, &exports);
    let zeros = [vec![0x41], signed(1024)].concat();
    let enabled = [vec![0x41], signed(2048)].concat();
    let random = [vec![0x41, 8, 0x41, 8, 0x10, 0, 0x1a], zeros.clone()].concat();
    // Hands out new memory each time: the old top, then the top moves up to the next 16 bytes.
    let realloc =
        [vec![0x23, 0, 0x23, 0, 0x20, 3, 0x41, 15, 0x6a, 0x41, 0x70, 0x71, 0x6a, 0x24, 0]].concat();
    let send = send.map_or(random, <[u8]>::to_vec);
    let bodies = [zeros, enabled, send, realloc].map(|code| [vec![0], code, vec![0x0b]].concat());
    let bodies = bodies.into_iter().chain(more.map(<[u8]>::to_vec));
    let bodies: Vec<_> = bodies.map(|body| [unsigned(body.len()), body].concat()).collect();
    section(&mut module, 10, &bodies);
    // ok(true): the tag is 0, the bool stands where a string would.
    section(
        &mut module,
        11,
        &[[vec![0, 0x41], signed(2048), vec![0x0b, 5, 0, 0, 0, 0, 1]].concat()],
    );
    module
}

fn section(module: &mut Vec<u8>, id: u8, items: &[Vec<u8>]) {
    let content = [unsigned(items.len()), items.concat()].concat();
    module.push(id);
    module.extend(unsigned(content.len()));
    module.extend(content);
}

fn text(text: &str) -> Vec<u8> {
    [unsigned(text.len()), text.as_bytes().to_vec()].concat()
}

fn unsigned(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        out.push(if n == 0 { low } else { low | 0x80 });
        if n == 0 {
            return out;
        }
    }
}

fn signed(mut n: i32) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        let done = (n == 0 && low & 0x40 == 0) || (n == -1 && low & 0x40 != 0);
        out.push(if done { low } else { low | 0x80 });
        if done {
            return out;
        }
    }
}
