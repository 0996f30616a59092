package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

const block = 1 << 20

// serve answers one stream that the other side opened.
func (p *peer) serve(stream *yamux.Stream) error {
	var first [1]byte
	if _, err := io.ReadFull(stream, first[:]); err != nil {
		return err
	}
	switch first[0] {
	case 'E':
		_, err := io.Copy(stream, stream)
		return err
	case 'D':
		count, err := number(stream)
		if err != nil {
			return err
		}
		return sendChecked(stream, count)
	case 'U':
		return p.answerChecked(stream, 0)
	case 'Z':
		return p.answerChecked(stream, 300*time.Millisecond)
	case 'H':
		all, err := io.ReadAll(stream)
		if err != nil {
			return err
		}
		_, err = stream.Write(all)
		return err
	case 'W':
		return p.waitForReset(stream)
	case 'Q':
		return writeNumbers(stream, p.resets.Load(), p.counted.Load(), p.right.Load())
	case 'O':
		return p.control(stream)
	case 'B':
		p.paused.Store(time.Now().Add(time.Second).UnixNano())
		// One more accept may be under way: it takes what comes next, and the loop then waits.
		_, err := stream.Write([]byte("b"))
		return err
	case 'X':
		return p.Session.Close()
	}
	return fmt.Errorf("asked for %q, which this library cannot do", first[0])
}

func number(from io.Reader) (uint64, error) {
	var bytes [8]byte
	_, err := io.ReadFull(from, bytes[:])
	return binary.BigEndian.Uint64(bytes[:]), err
}

func writeNumbers(to io.Writer, numbers ...uint64) error {
	var all []byte
	for _, n := range numbers {
		all = binary.BigEndian.AppendUint64(all, n)
	}
	_, err := to.Write(all)
	return err
}

// sendChecked sends bytes no two MiB of which are alike, and their SHA-256.
func sendChecked(to io.Writer, count uint64) error {
	hash := sha256.New()
	chunk := make([]byte, block)
	for i := range chunk {
		chunk[i] = byte(i * 31 >> 3)
	}
	for number := uint64(0); count > 0; number++ {
		binary.BigEndian.PutUint64(chunk, number)
		now := chunk
		if count < block {
			now = chunk[:count]
		}
		hash.Write(now)
		if _, err := to.Write(now); err != nil {
			return err
		}
		count -= uint64(len(now))
	}
	_, err := to.Write(hash.Sum(nil))
	return err
}

// takeChecked reads count bytes, their SHA-256 and the end.
func takeChecked(from io.Reader, count uint64) error {
	hash := sha256.New()
	if _, err := io.CopyN(hash, from, int64(count)); err != nil {
		return err
	}
	rest, err := io.ReadAll(io.LimitReader(from, 64))
	if err != nil {
		return err
	}
	if !bytes.Equal(rest, hash.Sum(nil)) {
		return fmt.Errorf("the SHA-256 of %d bytes is wrong", count)
	}
	return nil
}

func (p *peer) answerChecked(stream *yamux.Stream, wait time.Duration) error {
	time.Sleep(wait)
	count, err := number(stream)
	if err != nil {
		return err
	}
	verdict := "K"
	problem := takeChecked(stream, count)
	if problem != nil {
		verdict = "X"
	} else {
		p.right.Add(1)
	}
	if _, err := stream.Write([]byte(verdict)); err != nil {
		return err
	}
	return problem
}

func (p *peer) waitForReset(stream *yamux.Stream) error {
	if _, err := stream.Write([]byte("w")); err != nil {
		return err
	}
	var one [1]byte
	for {
		_, err := stream.Read(one[:])
		if err == yamux.ErrConnectionReset {
			p.resets.Add(1)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (p *peer) control(stream *yamux.Stream) error {
	var order [1]byte
	for {
		if _, err := io.ReadFull(stream, order[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		answer := order[0]
		if order[0] == 'o' {
			answer = 'K'
			if p.openBack() != nil {
				answer = 'N'
			}
		}
		if _, err := stream.Write([]byte{answer}); err != nil {
			return err
		}
	}
}

func (p *peer) openBack() error {
	stream, err := p.OpenStream()
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := stream.Write([]byte("E")); err != nil {
		return err
	}
	return exchange(stream, []byte("x"))
}

// exchange sends bytes to an echo and reads as many back.
func exchange(stream io.ReadWriter, sent []byte) error {
	if _, err := stream.Write(sent); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(stream, got); err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return fmt.Errorf("sent %q, came back %q", sent, got)
	}
	return nil
}
