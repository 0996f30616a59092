// One of weir's peers in the side-by-side benchmark, as server or as client; bench/run builds it with the tag of one multiplexer.
//
// What a stream asks for is its first byte: D to be sent bytes, U to send chunks whose first byte says whether more follow, R for
// 1 KiB against 1 KiB, C to be closed, I to stay open, M for the server's resident memory. No work reads after it closed its own
// side: not every version of these libraries allows it.
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	message = 1024
	chunk   = 256 * 1024
)

var (
	addr  = flag.String("addr", "127.0.0.1:0", "where to listen or to connect")
	work  = flag.String("work", "bulk-down", "bulk-down bulk-up streams-100 rr-1 rr-100 open-close idle-streams")
	secs  = flag.Float64("secs", 2, "how long to measure")
	count = flag.Int("count", 10000, "how many streams in idle-streams")
	_     = flag.Bool("json", true, "the only form there is")
	_     = flag.String("via", "yamux-plain", "the only way there is")
	_     = flag.String("impl", name, "the only one in this program")
)

func main() {
	if len(os.Args) < 2 || (os.Args[1] != "server" && os.Args[1] != "client") {
		fmt.Fprintln(os.Stderr, "server or client?")
		os.Exit(2)
	}
	flag.CommandLine.Parse(os.Args[2:])
	run := runClient
	if os.Args[1] == "server" {
		run = runServer
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func status(field string) int64 {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, field) {
			kib, _ := strconv.ParseInt(strings.Fields(line)[1], 10, 64)
			return kib
		}
	}
	return 0
}

// rss is the resident memory in bytes, without what the collector could give back.
func rss() float64 {
	debug.FreeOSMemory()
	return float64(status("VmRSS:") * 1024)
}

func runServer() error {
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Printf("{\"listening\":%q,\"impl\":%q}\n", listener.Addr(), name)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		fmt.Printf("{\"cpu_s\":%.2f,\"max_rss_kib\":%d}\n", cpuSeconds(), status("VmHWM:"))
		os.Exit(0)
	}()
	for {
		tcp, err := listener.Accept()
		if err != nil {
			return err
		}
		mux, err := server(tcp)
		if err != nil {
			return err
		}
		go serveSession(mux)
	}
}

func serveSession(mux session) {
	kept := make(chan net.Conn, *count)
	for {
		stream, err := mux.accept()
		if err != nil {
			return
		}
		go func() {
			if keep, _ := serve(stream); keep {
				kept <- stream
			} else {
				stream.Close()
			}
		}()
	}
}

// serve answers one stream; true: it stays open.
func serve(stream net.Conn) (bool, error) {
	var first [1]byte
	if _, err := io.ReadFull(stream, first[:]); err != nil {
		return false, err
	}
	switch first[0] {
	case 'R':
		var body [message]byte
		if _, err := io.ReadFull(stream, body[1:]); err != nil {
			return false, err
		}
		_, err := stream.Write(body[:])
		return false, err
	case 'I':
		_, err := stream.Write(first[:])
		return true, err
	case 'M':
		var answer [8]byte
		binary.BigEndian.PutUint64(answer[:], uint64(rss()))
		_, err := stream.Write(answer[:])
		return false, err
	case 'D':
		buffer := make([]byte, chunk)
		for {
			if _, err := stream.Write(buffer); err != nil {
				return false, err
			}
		}
	case 'U':
		return false, takeChunks(stream)
	}
	return false, nil
}

func takeChunks(stream net.Conn) error {
	buffer := make([]byte, chunk)
	var answer [8]byte
	for total := uint64(0); ; {
		if _, err := io.ReadFull(stream, buffer); err != nil {
			return err
		}
		total += chunk
		if buffer[0] == 0 {
			binary.BigEndian.PutUint64(answer[:], total)
			_, err := stream.Write(answer[:])
			return err
		}
	}
}

// outcome is the JSON line.
type outcome map[string]any

func runClient() error {
	tcp, err := net.Dial("tcp", *addr)
	if err != nil {
		return err
	}
	mux, err := client(tcp)
	if err != nil {
		return err
	}
	works := map[string]func() (outcome, error){
		"bulk-down":    func() (outcome, error) { return downloads(mux, 1) },
		"streams-100":  func() (outcome, error) { return downloads(mux, 100) },
		"bulk-up":      func() (outcome, error) { return upload(mux) },
		"rr-1":         func() (outcome, error) { return exchanges(mux, 1, request) },
		"rr-100":       func() (outcome, error) { return exchanges(mux, 100, request) },
		"open-close":   func() (outcome, error) { return exchanges(mux, 100, openClose) },
		"idle-streams": func() (outcome, error) { return idle(mux) },
	}
	measure, known := works[*work]
	if !known {
		return errors.New("unknown work " + *work)
	}
	line, err := measure()
	if err != nil {
		return err
	}
	line["impl"], line["via"], line["work"] = name, "yamux-plain", *work
	line["cpu_s"], line["max_rss_kib"] = cpuSeconds(), status("VmHWM:")
	return json.NewEncoder(os.Stdout).Encode(line)
}

func bulk(bytes uint64, start time.Time) outcome {
	took := time.Since(start).Seconds()
	return outcome{"bytes": bytes, "secs": took, "gbps": float64(bytes) * 8 / took / 1e9}
}

func duration() time.Duration { return time.Duration(*secs * float64(time.Second)) }

func downloads(mux session, count int) (outcome, error) {
	var total atomic.Uint64
	failed := make(chan error, count)
	start := time.Now()
	for i := 0; i < count; i++ {
		go func() {
			stream, err := mux.open()
			if err == nil {
				_, err = stream.Write([]byte("D"))
			}
			size := chunk
			if count > 8 {
				size = 8 * chunk / count
			}
			buffer := make([]byte, size)
			for err == nil {
				var got int
				got, err = stream.Read(buffer)
				total.Add(uint64(got))
			}
			failed <- err
		}()
	}
	select {
	case err := <-failed:
		return nil, err
	case <-time.After(duration()):
		return bulk(total.Load(), start), nil
	}
}

func upload(mux session) (outcome, error) {
	start := time.Now()
	stream, err := mux.open()
	if err != nil {
		return nil, err
	}
	if _, err := stream.Write([]byte("U")); err != nil {
		return nil, err
	}
	buffer := make([]byte, chunk)
	buffer[0] = 1
	total := uint64(0)
	for buffer[0] == 1 {
		if time.Since(start) >= duration() {
			buffer[0] = 0
		}
		if _, err := stream.Write(buffer); err != nil {
			return nil, err
		}
		total += chunk
	}
	var answer [8]byte
	if _, err := io.ReadFull(stream, answer[:]); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint64(answer[:]) != total {
		return nil, errors.New("bytes are missing")
	}
	return bulk(total, start), nil
}

func request(mux session) error {
	stream, err := mux.open()
	if err != nil {
		return err
	}
	defer stream.Close()
	var body [message]byte
	body[0] = 'R'
	if _, err := stream.Write(body[:]); err != nil {
		return err
	}
	_, err = io.ReadFull(stream, body[:])
	return err
}

func openClose(mux session) error {
	stream, err := mux.open()
	if err != nil {
		return err
	}
	defer stream.Close()
	body := []byte("C")
	if _, err := stream.Write(body); err != nil {
		return err
	}
	if _, err := stream.Read(body); err != io.EOF {
		return errors.New("a closed stream sent data")
	}
	return nil
}

func exchanges(mux session, atOnce int, exchange func(session) error) (outcome, error) {
	var lock sync.Mutex
	var took []time.Duration
	failed := make(chan error, atOnce)
	start := time.Now()
	for i := 0; i < atOnce; i++ {
		go func() {
			for time.Since(start) < duration() {
				begun := time.Now()
				if err := exchange(mux); err != nil {
					failed <- err
					return
				}
				lock.Lock()
				took = append(took, time.Since(begun))
				lock.Unlock()
			}
			failed <- nil
		}()
	}
	for i := 0; i < atOnce; i++ {
		if err := <-failed; err != nil {
			return nil, err
		}
	}
	secs := time.Since(start).Seconds()
	sort.Slice(took, func(a, b int) bool { return took[a] < took[b] })
	at := func(quantile float64) float64 {
		return float64(took[int(quantile*float64(len(took)-1))].Nanoseconds()) / 1000
	}
	done := len(took)
	return outcome{
		"bytes": done * 2 * message, "secs": secs, "per_s": float64(done) / secs, "p50_us": at(0.5), "p99_us": at(0.99),
	}, nil
}

func serverRss(mux session) (float64, error) {
	stream, err := mux.open()
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	if _, err := stream.Write([]byte("M")); err != nil {
		return 0, err
	}
	var answer [8]byte
	_, err = io.ReadFull(stream, answer[:])
	return float64(binary.BigEndian.Uint64(answer[:])), err
}

func idle(mux session) (outcome, error) {
	before, err := exchanges(mux, 1, request)
	if err != nil {
		return nil, err
	}
	kept := make([]net.Conn, 0, *count)
	peer, err := serverRss(mux)
	if err != nil {
		return nil, err
	}
	own := rss()
	for i := 0; i < *count; i++ {
		stream, err := mux.open()
		if err != nil {
			return nil, err
		}
		if _, err := stream.Write([]byte("I")); err != nil {
			return nil, err
		}
		var answer [1]byte
		if _, err := io.ReadFull(stream, answer[:]); err != nil {
			return nil, err
		}
		kept = append(kept, stream)
	}
	own = rss() - own
	full, err := serverRss(mux)
	if err != nil {
		return nil, err
	}
	line, err := exchanges(mux, 1, request)
	if err != nil {
		return nil, err
	}
	streams := float64(len(kept))
	line["streams"], line["p50_before_us"] = streams, before["p50_us"]
	line["p50_with_us"] = line["p50_us"]
	line["bytes_each"], line["server_bytes_each"] = own/streams, (full-peer)/streams
	delete(line, "per_s")
	return line, nil
}
