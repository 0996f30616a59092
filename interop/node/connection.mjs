// A TCP socket as the message stream that the multiplexer wants below it, and streams read the way the cases need it.
import { yamux } from '@chainsafe/libp2p-yamux'
import { AbstractMessageStream } from '@libp2p/utils'
import { randomBytes } from 'node:crypto'

// The library is written for a Node.js that has this.
Promise.withResolvers ??= function () {
  const all = {}
  all.promise = new Promise((resolve, reject) => Object.assign(all, { resolve, reject }))
  return all
}

const silent = () => {}
Object.assign(silent, { error: () => {}, trace: () => {}, newScope: () => silent, enabled: false })

class TcpConnection extends AbstractMessageStream {
  constructor (socket, direction) {
    super({ log: silent, direction, inactivityTimeout: 0 })
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', bytes => this.onData(bytes))
    socket.on('drain', () => this.safeDispatchEvent('drain'))
    socket.on('error', error => this.abort(error))
    socket.on('close', () => this.onTransportClosed())
    socket.resume() // a listener hands it over paused, so that nothing is lost before
  }

  sendData (list) {
    let sentBytes = 0
    let canSendMore = true
    for (const bytes of list) {
      sentBytes += bytes.byteLength
      canSendMore = this.socket.write(bytes)
      if (!canSendMore) break
    }
    return { sentBytes, canSendMore }
  }

  sendReset () { this.socket.destroy() }
  sendPause () { this.socket.pause() }
  sendResume () { this.socket.resume() }
  async close () { this.socket.end() }
}

// One session. `serve` gets the streams that the other side opens; `ended` resolves when it is over.
export class Session {
  constructor (socket, direction, serve) {
    this.connection = new TcpConnection(socket, direction)
    this.left = { resets: 0, counted: 0, right: 0 }
    this.muxer = yamux({
      maxInboundStreams: 5000, maxOutboundStreams: 5000, enableKeepAlive: false
    })().createStreamMuxer(this.connection)
    this.muxer.addEventListener('stream', event => {
      const stream = new Stream(event.detail)
      serve(this, stream).catch(error => console.error(`node: stream: ${error.message}`))
    })
    this.ended = new Promise(resolve => {
      this.connection.addEventListener('close', resolve)
      socket.on('close', resolve)
    })
  }

  async open (head, ...numbers) {
    const stream = new Stream(await this.muxer.createStream())
    const bytes = Buffer.alloc(head.length + 8 * numbers.length)
    bytes.write(head)
    numbers.forEach((number, at) => bytes.writeBigUInt64BE(BigInt(number), head.length + 8 * at))
    await stream.write(bytes)
    return stream
  }

  // Says go away with this code and ends the connection once that is sent.
  async close (reason = 0) {
    if (reason === 0) await this.muxer.close({ signal: AbortSignal.timeout(2000) }).catch(() => {})
    else { this.muxer.sendGoAway(reason) }
    await this.connection.close()
  }
}

// Streams of this library are events; here they become bytes that are waited for.
export class Stream {
  constructor (inner) {
    this.inner = inner
    this.queue = []
    this.queued = 0
    this.take = null // gets the bytes as they come, instead of the queue
    this.isOver = false
    this.wasReset = false
    this.wake = () => {}
    inner.addEventListener('message', event => this.arrived(event.data))
    inner.addEventListener('remoteCloseWrite', () => this.over())
    inner.addEventListener('close', event => {
      this.wasReset ||= event.error?.name === 'StreamResetError'
      this.failed = event.error
      this.over()
    })
  }

  arrived (list) {
    const bytes = Buffer.from(list.subarray())
    if (this.take != null) return this.take(bytes)
    this.queue.push(bytes)
    this.queued += bytes.length
    this.wake()
  }

  // The library says that the other half ended before it hands over what came with that.
  over () {
    setImmediate(() => { this.isOver = true; this.wake() })
  }

  async changed () {
    await new Promise(resolve => { this.wake = resolve })
  }

  async read (count) {
    while (this.queued < count) {
      if (this.isOver) throw this.failed ?? new Error(`the stream ended ${count - this.queued} bytes early`)
      await this.changed()
    }
    const all = Buffer.concat(this.queue)
    this.queue = count < all.length ? [all.subarray(count)] : []
    this.queued = all.length - count
    return all.subarray(0, count)
  }

  async number () { return Number((await this.read(8)).readBigUInt64BE()) }

  async ended () {
    while (!this.isOver) await this.changed()
    if (this.failed != null) throw this.failed
  }

  async readToEnd () {
    await this.ended()
    return await this.read(this.queued)
  }

  // Every byte goes to `take`, those that wait already first, until the other half ends.
  async drain (take) {
    this.take = take
    const waiting = Buffer.concat(this.queue)
    this.queue = []
    this.queued = 0
    if (waiting.length > 0) take(waiting)
    await this.ended()
  }

  async write (bytes) {
    if (!this.inner.send(bytes)) await this.inner.onDrain()
  }

  // Ends our half.
  async finish () { await this.inner.close() }
  reset () { this.inner.abort(new Error('reset on purpose')) }
}

export const junk = randomBytes(1 << 20)
