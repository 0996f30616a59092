// What this side drives.
import { setTimeout as sleep } from 'node:timers/promises'
import { junk } from './connection.mjs'
import { exchange, sendChecked, takeChecked } from './service.mjs'

function must (holds, otherwise) {
  if (!holds) throw new Error(otherwise)
}

async function left (session) {
  const stream = await session.open('Q')
  const [resets, counted, right] = [await stream.number(), await stream.number(), await stream.number()]
  await stream.finish()
  return { resets, counted, right }
}

async function eventually (session, seen) {
  for (let tries = 0; tries < 500; tries++) {
    if (seen(await left(session))) return
    await sleep(20)
  }
  throw new Error(`the other side says ${JSON.stringify(await left(session))}`)
}

async function echo (session) {
  for (let size = 1; size <= 1 << 17; size *= 16) {
    const stream = await session.open('E')
    await exchange(stream, junk.subarray(0, size))
    await stream.finish()
    await stream.ended()
  }
}

async function manyStreams (session) {
  const streams = []
  for (let i = 0; i < 1000; i++) streams.push(await session.open('E'))
  await Promise.all(streams.map(async (stream, i) => {
    await exchange(stream, junk.subarray(i, i + 10_000))
    await stream.finish()
    await stream.ended()
  }))
}

async function uploaded (session, how, bytes) {
  const stream = await session.open(how, bytes)
  await sendChecked(stream, bytes)
  must(String(await stream.readToEnd()) === 'K', 'the SHA-256 at the other side is wrong')
}

async function download (session, bytes) {
  const stream = await session.open('D', bytes)
  await stream.finish()
  must(await takeChecked(stream, bytes), 'the SHA-256 is wrong')
}

async function openerFinishes (session) {
  const stream = await session.open('H')
  await stream.write(junk.subarray(0, 100_000))
  await stream.finish()
  const all = await stream.readToEnd()
  must(all.equals(junk.subarray(0, 100_000)), `${all.length} other bytes came back`)
}

async function acceptorFinishes (session) {
  const stream = await session.open('G')
  await stream.ended()
  await stream.write(junk.subarray(0, 300_000))
  await stream.finish()
  await eventually(session, left => left.counted === 300_000)
}

async function openerResets (session) {
  const stream = await session.open('W')
  await stream.read(1)
  stream.reset()
  await eventually(session, left => left.resets === 1)
  await echo(session)
}

async function acceptorResets (session) {
  const stream = await session.open('R')
  await stream.ended().catch(() => {})
  must(stream.wasReset, 'the end was no reset')
  await echo(session)
}

async function ping (session) {
  for (let i = 0; i < 100; i++) must(await session.muxer.ping() >= 0, 'no round trip time')
}

async function peerCloses (session) {
  const stream = await session.open('E')
  await exchange(stream, Buffer.from('before'))
  await session.open('X')
  await session.ended
  must(await session.muxer.createStream().then(() => false, () => true), 'a stream could be opened on a closed session')
}

// Ends by error: the other side must take it for one (it says so in its own words, which the runner reads).
async function goAwayError (session) {
  const stream = await session.open('E')
  await exchange(stream, Buffer.from('before'))
  await session.close(2)
  await session.ended
}

export const cases = {
  echo,
  'streams-1000': manyStreams,
  upload: (session, bytes) => uploaded(session, 'U', bytes),
  download,
  'slow-reader': session => uploaded(session, 'Z', 4 << 20),
  'opener-finishes': openerFinishes,
  'acceptor-finishes': acceptorFinishes,
  'opener-resets': openerResets,
  'acceptor-resets': acceptorResets,
  ping,
  'peer-closes': peerCloses,
  'go-away-error': goAwayError
}
