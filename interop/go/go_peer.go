// The hashicorp/yamux side of the interop tests; ../README.md says what the programs do.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

var (
	addr  = flag.String("addr", "127.0.0.1:0", "where to listen or to dial")
	drive = flag.String("drive", "", "cases to run, separated by commas")
	bulk  = flag.Uint64("bytes", 1<<26, "bytes of the bulk cases")
	queue = flag.Int("backlog", 256, "how many streams may wait to be accepted")
)

// peer is one session and what its streams left behind.
type peer struct {
	*yamux.Session
	began   time.Time
	resets  atomic.Uint64
	counted atomic.Uint64
	right   atomic.Uint64
	paused  atomic.Int64 // until when nothing is accepted, Unix nanoseconds
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("listen, dial, echo-server or echo-client?"))
	}
	flag.CommandLine.Parse(os.Args[2:])
	switch os.Args[1] {
	case "listen":
		fail(listen(func(tcp net.Conn) { session(tcp, true) }))
	case "dial":
		fail(dial())
	case "echo-server":
		fail(listen(bareEcho))
	case "echo-client":
		fail(bareEchoClient())
	default:
		fail(fmt.Errorf("what is %s?", os.Args[1]))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func config() *yamux.Config {
	config := yamux.DefaultConfig()
	config.LogOutput = os.Stderr
	return config
}

func listen(serve func(net.Conn)) error {
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Printf("{\"listening\":%q}\n", listener.Addr())
	if *drive == "" {
		for {
			tcp, err := listener.Accept()
			if err != nil {
				return err
			}
			go serve(tcp)
		}
	}
	return driveAll(func() (net.Conn, error) { return listener.Accept() }, true)
}

func dial() error {
	connect := func() (net.Conn, error) { return net.Dial("tcp", *addr) }
	if *drive != "" {
		return driveAll(connect, false)
	}
	for {
		tcp, err := connect()
		if err != nil {
			return nil // the driver is done
		}
		session(tcp, false)
	}
}

// session serves a connection until it ends.
func session(tcp net.Conn, server bool) {
	p, err := start(tcp, server)
	if err == nil {
		<-p.CloseChan()
	}
}

func start(tcp net.Conn, server bool) (*peer, error) {
	p := &peer{began: time.Now()}
	var err error
	config := config()
	config.AcceptBacklog = *queue
	if server {
		p.Session, err = yamux.Server(tcp, config)
	} else {
		p.Session, err = yamux.Client(tcp, config)
	}
	if err != nil {
		return nil, err
	}
	go p.accept()
	return p, nil
}

func (p *peer) accept() {
	for {
		time.Sleep(time.Until(time.Unix(0, p.paused.Load())))
		stream, err := p.AcceptStream()
		if err != nil {
			return
		}
		go func() {
			if err := p.serve(stream); err != nil {
				fmt.Fprintln(os.Stderr, "go: stream:", err)
			}
			stream.Close()
		}()
	}
}

func driveAll(connect func() (net.Conn, error), server bool) error {
	for _, name := range strings.Split(*drive, ",") {
		result := map[string]any{"case": name, "ok": true}
		if err := driveOne(name, connect, server); err != nil {
			result["ok"], result["detail"] = false, err.Error()
		}
		if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
			return err
		}
	}
	return nil
}

func driveOne(name string, connect func() (net.Conn, error), server bool) error {
	run, known := cases[name]
	if !known {
		return fmt.Errorf("unknown case")
	}
	tcp, err := connect()
	if err != nil {
		return err
	}
	p, err := start(tcp, server)
	if err != nil {
		return err
	}
	defer p.Close()
	done := make(chan error, 1)
	go func() { done <- run(p) }()
	select {
	case err := <-done:
		return err
	case <-time.After(60 * time.Second):
		return fmt.Errorf("no end within 60 s")
	}
}

func bareEcho(tcp net.Conn) {
	mux, err := yamux.Server(tcp, config())
	if err != nil {
		return
	}
	for {
		stream, err := mux.AcceptStream()
		if err != nil {
			return
		}
		go func() {
			io.Copy(stream, stream)
			stream.Close()
		}()
	}
}

// bareEchoClient uses an echo server the way this library can: it cannot read once it closed its own half.
func bareEchoClient() error {
	tcp, err := net.Dial("tcp", *addr)
	if err != nil {
		return err
	}
	mux, err := yamux.Client(tcp, config())
	if err != nil {
		return err
	}
	defer mux.Close()
	for i := 0; i < 3; i++ {
		stream, err := mux.OpenStream()
		if err != nil {
			return err
		}
		text := fmt.Sprintf("hello %d", i)
		if err := exchange(stream, []byte(text)); err != nil {
			return err
		}
		stream.Close()
	}
	return nil
}
