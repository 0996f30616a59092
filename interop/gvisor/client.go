package main

// What gVisor's netstack does as a client, and whether what came back is right.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// How long one case may take.
const patience = 100 * time.Second

type dialer func(what byte) (*gonet.TCPConn, error)

// pattern fills what lies at offset in the stream that everybody expects.
func pattern(into []byte, offset uint64) {
	for at := range into {
		n := offset + uint64(at)
		into[at] = byte(n ^ n>>8 ^ n>>16)
	}
}

func run(s *stack.Stack, to, name string, size int) error {
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	address := tcpip.FullAddress{NIC: 1, Addr: tcpip.Address(net.ParseIP(host).To4()), Port: uint16(number)}
	dial := func(what byte) (*gonet.TCPConn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		conn, err := gonet.DialContextTCP(ctx, s, address, ipv4.ProtocolNumber)
		if err != nil {
			return nil, fmt.Errorf("dial: %w", err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		_, err = conn.Write([]byte{what})
		return conn, err
	}
	switch name {
	case "echo":
		return echo(dial, size, 0)
	case "slow-reader":
		return echo(dial, size, 3*time.Second)
	case "upload":
		return upload(dial, size)
	case "connections":
		return many(dial, size)
	case "reset":
		return reset(dial)
	case "refused":
		return refused(s, address)
	}
	return fmt.Errorf("no case is called %s", name)
}

// echo sends the pattern, ends its direction, and reads all of it back; when it waits first, windows close.
func echo(dial dialer, size int, wait time.Duration) error {
	conn, err := dial('E')
	if err != nil {
		return err
	}
	defer conn.Close()
	failed := make(chan error, 1)
	go func() {
		chunk := make([]byte, 64<<10)
		for sent := 0; sent < size; sent += len(chunk) {
			if size-sent < len(chunk) {
				chunk = chunk[:size-sent]
			}
			pattern(chunk, uint64(sent))
			if _, err := conn.Write(chunk); err != nil {
				failed <- err
				return
			}
		}
		failed <- conn.CloseWrite()
	}()
	time.Sleep(wait)
	chunk, expected := make([]byte, 64<<10), make([]byte, 64<<10)
	got := 0
	for {
		count, err := conn.Read(chunk)
		pattern(expected[:count], uint64(got))
		if string(expected[:count]) != string(chunk[:count]) {
			return fmt.Errorf("wrong bytes behind %d", got)
		}
		got += count
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", got, err)
		}
	}
	if got != size {
		return fmt.Errorf("%d of %d bytes came back", got, size)
	}
	return <-failed
}

func upload(dial dialer, size int) error {
	conn, err := dial('S')
	if err != nil {
		return err
	}
	defer conn.Close()
	chunk := make([]byte, 64<<10)
	sent := 0
	for ; sent < size; sent += len(chunk) {
		if _, err := conn.Write(chunk); err != nil {
			return err
		}
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	var count [8]byte
	if _, err := io.ReadFull(conn, count[:]); err != nil {
		return err
	}
	if got := binary.BigEndian.Uint64(count[:]); got != uint64(sent) {
		return fmt.Errorf("%d of %d bytes arrived", got, sent)
	}
	return nil
}

// many echoes a little on each of so many connections, all of them open at once.
func many(dial dialer, count int) error {
	var group sync.WaitGroup
	faults := make(chan error, count)
	open := make(chan struct{}, 128)
	for at := 0; at < count; at++ {
		group.Add(1)
		go func() {
			defer group.Done()
			open <- struct{}{}
			defer func() { <-open }()
			if err := echo(dial, 3000, 0); err != nil {
				faults <- err
			}
		}()
	}
	group.Wait()
	close(faults)
	return <-faults
}

// reset aborts in the middle; the server must serve the next.
func reset(dial dialer) error {
	conn, err := dial('G')
	if err != nil {
		return err
	}
	chunk := make([]byte, 64<<10)
	if _, err := conn.Read(chunk); err != nil {
		return err
	}
	// With data unread, netstack resets.
	conn.Close()
	return echo(dial, 10_000, 0)
}

func refused(s *stack.Stack, address tcpip.FullAddress) error {
	address.Port++
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := gonet.DialContextTCP(ctx, s, address, ipv4.ProtocolNumber)
	if err == nil {
		conn.Close()
		return errors.New("nobody listens there, and it was connected")
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("nobody listens there, and nothing was said")
	}
	return nil
}
