// What a stream can ask for; ../README.md has the table.
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { junk } from './connection.mjs'

export async function serve (session, stream) {
  const asked = String(await stream.read(1))
  const answers = { E: echo, D: download, U: upload, Z: slowUpload, H: half, G: finishFirst, R: reset, W: waitForReset, Q: query, O: control, X: close }
  const answer = answers[asked]
  if (answer == null) throw new Error(`asked for ${asked}, which this side cannot do`)
  await answer(stream, session)
}

async function echo (stream) {
  let last = Promise.resolve()
  await stream.drain(bytes => { last = last.then(() => stream.write(bytes)) })
  await last
  await stream.finish()
}

async function download (stream) {
  await sendChecked(stream, await stream.number())
}

// Sends bytes no two MiB of which are alike, their SHA-256 and the end.
export async function sendChecked (stream, count) {
  const hash = createHash('sha256')
  for (let number = 0; count > 0; number++) {
    const chunk = Buffer.from(junk.subarray(0, Math.min(count, junk.length)))
    if (chunk.length >= 4) chunk.writeUInt32BE(number)
    hash.update(chunk)
    await stream.write(chunk)
    count -= chunk.length
  }
  await stream.write(hash.digest())
  await stream.finish()
}

// Reads that many bytes, their SHA-256 and the end; false when it is wrong.
export async function takeChecked (stream, count) {
  const hash = createHash('sha256')
  let tail = Buffer.alloc(0)
  let left = count
  await stream.drain(bytes => {
    const data = bytes.subarray(0, left)
    hash.update(data)
    left -= data.length
    if (data.length < bytes.length) tail = Buffer.concat([tail, bytes.subarray(data.length)])
  })
  return left === 0 && hash.digest().equals(tail)
}

async function upload (stream, session) {
  const right = await takeChecked(stream, await stream.number())
  if (right) session.left.right++
  await stream.write(Buffer.from(right ? 'K' : 'X'))
  await stream.finish()
}

async function slowUpload (stream, session) {
  // Not at once: paused before its acknowledgement went out, the library would never send it.
  await sleep(1)
  stream.inner.pause()
  await sleep(300)
  stream.inner.resume()
  await upload(stream, session)
}

async function half (stream) {
  const all = await stream.readToEnd()
  await stream.write(all)
  await stream.finish()
}

async function finishFirst (stream, session) {
  await stream.finish()
  let count = stream.queued
  await stream.drain(bytes => { count += bytes.length })
  session.left.counted = count
}

async function reset (stream) { stream.reset() }

async function waitForReset (stream, session) {
  await stream.write(Buffer.from('w'))
  await stream.ended().catch(() => {})
  if (stream.wasReset) session.left.resets++
}

async function query (stream, session) {
  const answer = Buffer.alloc(24)
  const { resets, counted, right } = session.left
  ;[resets, counted, right].forEach((number, at) => answer.writeBigUInt64BE(BigInt(number), 8 * at))
  await stream.write(answer)
  await stream.finish()
}

async function control (stream, session) {
  for (;;) {
    let order
    try { order = String(await stream.read(1)) } catch { return await stream.finish() }
    if (order === 'o') order = await openBack(session).then(() => 'K', () => 'N')
    await stream.write(Buffer.from(order))
  }
}

async function openBack (session) {
  const stream = await session.open('E')
  await exchange(stream, Buffer.from('x'))
  await stream.finish()
}

// Sends bytes to an echo and reads as many back.
export async function exchange (stream, sent) {
  await stream.write(sent)
  const got = await stream.read(sent.length)
  if (!got.equals(sent)) throw new Error('what came back is not what was sent')
}

async function close (_, session) { await session.close() }
