package main

import (
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

// cases are what this side drives.
var cases = map[string]func(*peer) error{
	"echo":              (*peer).echo,
	"streams-1000":      (*peer).manyStreams,
	"upload":            func(p *peer) error { return p.upload('U') },
	"download":          (*peer).download,
	"slow-reader":       func(p *peer) error { return p.upload('Z') },
	"acceptor-finishes": (*peer).acceptorFinishes,
	"acceptor-resets":   (*peer).acceptorResets,
	"ping":              (*peer).ping,
	"go-away":           (*peer).goAway,
	"peer-closes":       (*peer).peerCloses,
}

func (p *peer) ask(head string, numbers ...uint64) (*yamux.Stream, error) {
	stream, err := p.OpenStream()
	if err != nil {
		return nil, err
	}
	if _, err := stream.Write([]byte(head)); err != nil {
		return nil, err
	}
	return stream, writeNumbers(stream, numbers...)
}

func (p *peer) echo() error {
	for size := 1; size <= 1<<17; size *= 16 {
		stream, err := p.ask("E")
		if err != nil {
			return err
		}
		if err := exchange(stream, make([]byte, size)); err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
		stream.Close()
	}
	return nil
}

func (p *peer) manyStreams() error {
	const count = 1000
	streams := make([]*yamux.Stream, count)
	for i := range streams {
		stream, err := p.ask("E")
		if err != nil {
			return fmt.Errorf("stream %d: %w", i, err)
		}
		streams[i] = stream
	}
	done := make(chan error, count)
	for i, stream := range streams {
		go func(i int, stream *yamux.Stream) {
			sent := make([]byte, 10_000)
			for at := range sent {
				sent[at] = byte(i + at)
			}
			err := exchange(stream, sent)
			stream.Close()
			done <- err
		}(i, stream)
	}
	for range streams {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) upload(how byte) error {
	count := *bulk
	if how == 'Z' {
		count = 4 << 20
	}
	stream, err := p.ask(string(how), count)
	if err != nil {
		return err
	}
	if err := sendChecked(stream, count); err != nil {
		return err
	}
	// This library cannot read the verdict after it closed its own half: it asks on another stream.
	if err := stream.Close(); err != nil {
		return err
	}
	return p.eventually(func(left left) bool { return left.right == 1 })
}

func (p *peer) download() error {
	stream, err := p.ask("D", *bulk)
	if err != nil {
		return err
	}
	defer stream.Close()
	return takeChecked(stream, *bulk)
}

// left is what earlier streams of this session left behind at the other side.
type left struct{ resets, counted, right uint64 }

func (p *peer) query() (left left, err error) {
	stream, err := p.ask("Q")
	if err != nil {
		return left, err
	}
	defer stream.Close()
	for _, field := range []*uint64{&left.resets, &left.counted, &left.right} {
		if *field, err = number(stream); err != nil {
			return left, err
		}
	}
	return left, nil
}

// eventually asks until the other side has seen what it must see.
func (p *peer) eventually(seen func(left) bool) error {
	for {
		left, err := p.query()
		if err != nil || seen(left) {
			return err
		}
		if time.Since(p.began) > 50*time.Second {
			return fmt.Errorf("the other side says %+v", left)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *peer) acceptorFinishes() error {
	stream, err := p.ask("G")
	if err != nil {
		return err
	}
	var one [1]byte
	if _, err := stream.Read(one[:]); err != io.EOF {
		return fmt.Errorf("expected the end of the other half, got %v", err)
	}
	if _, err := stream.Write(make([]byte, 300_000)); err != nil {
		return fmt.Errorf("writing after the other half ended: %w", err)
	}
	stream.Close()
	return p.eventually(func(left left) bool { return left.counted == 300_000 })
}

func (p *peer) acceptorResets() error {
	stream, err := p.ask("R")
	if err != nil {
		return err
	}
	var one [1]byte
	if _, err := stream.Read(one[:]); err != yamux.ErrConnectionReset {
		return fmt.Errorf("expected a reset, got %v", err)
	}
	return p.echo()
}

func (p *peer) ping() error {
	for i := 0; i < 100; i++ {
		if _, err := p.Ping(); err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) goAway() error {
	control, err := p.ask("O")
	if err != nil {
		return err
	}
	if err := order(control, 'o', 'K'); err != nil {
		return fmt.Errorf("before: %w", err)
	}
	if err := p.GoAway(); err != nil {
		return err
	}
	// The stream that is open goes on; a new one from the other side is refused.
	if err := order(control, 'e', 'e'); err != nil {
		return fmt.Errorf("open stream after: %w", err)
	}
	return order(control, 'o', 'N')
}

func order(control io.ReadWriter, what, wanted byte) error {
	if _, err := control.Write([]byte{what}); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(control, answer[:]); err != nil {
		return err
	}
	if answer[0] != wanted {
		return fmt.Errorf("%q answered by %q instead of %q", what, answer[0], wanted)
	}
	return nil
}

func (p *peer) peerCloses() error {
	open, err := p.ask("E")
	if err != nil {
		return err
	}
	if err := exchange(open, []byte("before")); err != nil {
		return err
	}
	if _, err := p.ask("X"); err != nil {
		return err
	}
	select {
	case <-p.CloseChan():
	case <-time.After(10 * time.Second):
		return fmt.Errorf("the session did not end")
	}
	var one [1]byte
	if _, err := open.Read(one[:]); err == nil {
		return fmt.Errorf("a stream of a closed session still gives data")
	}
	if _, err := p.OpenStream(); err == nil {
		return fmt.Errorf("a stream could be opened on a closed session")
	}
	return nil
}
