// The js-libp2p side of the interop tests; ../README.md says what the programs do.
import net from 'node:net'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { cases } from './cases.mjs'
import { Session } from './connection.mjs'
import { exchange, serve } from './service.mjs'

const { values, positionals: [mode] } = parseArgs({
  allowPositionals: true,
  options: {
    addr: { type: 'string', default: '127.0.0.1:0' },
    drive: { type: 'string', default: '' },
    bytes: { type: 'string', default: String(1 << 26) },
    backlog: { type: 'string', default: '' }
  }
})
const [host, port] = values.addr.split(':')
// A stream that ends while something waits for it is a case's business, and each case says so itself.
process.on('unhandledRejection', error => console.error(`node: ${error?.message}`))

async function listen (accept) {
  const server = net.createServer({ pauseOnConnect: true }, accept)
  server.listen(Number(port), host)
  await once(server, 'listening')
  console.log(JSON.stringify({ listening: `${host}:${server.address().port}` }))
}

async function dial () {
  const socket = net.connect(Number(port), host)
  await once(socket, 'connect')
  return socket
}

async function drive (connect, direction) {
  for (const name of values.drive.split(',')) {
    const result = { case: name, ok: true }
    try {
      const session = new Session(await connect(), direction, serve)
      await withinAMinute(cases[name](session, Number(values.bytes)))
      await session.close()
    } catch (error) {
      Object.assign(result, { ok: false, detail: error.message })
    }
    console.log(JSON.stringify(result))
  }
  process.exit(0)
}

async function withinAMinute (running) {
  let timer
  const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error('no end within 60 s')), 60_000) })
  try { await Promise.race([running, late]) } finally { clearTimeout(timer) }
}

async function bareEcho (_, stream) {
  let last = Promise.resolve()
  await stream.drain(bytes => { last = last.then(() => stream.write(bytes)) })
  await last
  await stream.finish()
}

async function bareEchoClient () {
  const session = new Session(await dial(), 'outbound', serve)
  for (let i = 0; i < 3; i++) {
    const stream = await session.open(`hello ${i}`)
    await stream.finish()
    const all = String(await stream.readToEnd())
    if (all !== `hello ${i}`) throw new Error(`sent hello ${i}, came back ${all}`)
  }
  await session.close()
  process.exit(0)
}

async function listenAndDrive () {
  const waiting = []
  let wake = () => {}
  await listen(socket => { waiting.push(socket); wake() })
  await drive(async () => {
    while (waiting.length === 0) await new Promise(resolve => { wake = resolve })
    return waiting.shift()
  }, 'inbound')
}

async function dialAndServe () {
  for (;;) {
    let socket
    try { socket = await dial() } catch { process.exit(0) } // the driver is done
    await new Session(socket, 'outbound', serve).ended
  }
}

const modes = {
  listen: () => values.drive ? listenAndDrive() : listen(socket => new Session(socket, 'inbound', serve)),
  dial: () => values.drive ? drive(dial, 'outbound') : dialAndServe(),
  'echo-server': () => listen(socket => new Session(socket, 'inbound', bareEcho)),
  'echo-client': bareEchoClient
}
if (modes[mode] == null) {
  console.error('listen, dial, echo-server or echo-client?')
  process.exit(2)
}
modes[mode]().catch(error => {
  console.error(`node: ${error.message}`)
  process.exit(1)
})
