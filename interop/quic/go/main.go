// quic-go as either side of the interop cases.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lucas-clemente/quic-go"
	"github.com/lucas-clemente/quic-go/http3"
)

type options struct {
	addr, cert, key, www, connect, name, ca, out, keylog, alpn string
	retry, resume, early, many                                 bool
	paths                                                      []string
}

func parse(side string, args []string) options {
	var o options
	flags := flag.NewFlagSet(side, flag.ExitOnError)
	flags.StringVar(&o.addr, "addr", "", "IP:PORT to listen on")
	flags.StringVar(&o.cert, "cert", "", "PEM")
	flags.StringVar(&o.key, "key", "", "PEM")
	flags.StringVar(&o.www, "www", "", "directory to serve")
	flags.StringVar(&o.connect, "connect", "", "IP:PORT to dial")
	flags.StringVar(&o.name, "name", "", "name of the server")
	flags.StringVar(&o.ca, "ca", "", "PEM")
	flags.StringVar(&o.out, "out", "", "directory to fetch into")
	flags.StringVar(&o.keylog, "keylog", "", "file for the secrets")
	flags.StringVar(&o.alpn, "alpn", "hq-interop", "protocol")
	flags.BoolVar(&o.retry, "retry", false, "have clients prove their address")
	flags.BoolVar(&o.resume, "resume", false, "the rest on a second, resumed connection")
	flags.BoolVar(&o.early, "early-data", false, "the rest as early data of a second connection")
	flags.BoolVar(&o.many, "many", false, "a connection for each path")
	if err := flags.Parse(args); err != nil {
		fail(err)
	}
	o.paths = flags.Args()
	return o
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (o options) transport() *quic.Config {
	return &quic.Config{
		Versions:             []quic.VersionNumber{quic.Version1},
		HandshakeIdleTimeout: 30 * time.Second,
		MaxIdleTimeout:       60 * time.Second,
		MaxIncomingStreams:   100,
		// Without one, a capture does not show to which connection packets on a new path belong.
		ConnectionIDLength: 8,
	}
}

func (o options) secrets() io.Writer {
	if o.keylog == "" {
		return nil
	}
	file, err := os.OpenFile(o.keylog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fail(err)
	}
	return file
}

func serve(o options) {
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		fail(err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{o.alpn}, KeyLogWriter: o.secrets()}
	transport := o.transport()
	transport.RequireAddressValidation = func(net.Addr) bool { return o.retry }
	listener, err := quic.ListenAddrEarly(o.addr, secure, transport)
	if err != nil {
		fail(err)
	}
	line, _ := json.Marshal(map[string]string{"listening": listener.Addr().String()})
	fmt.Println(string(line))
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		listener.Close()
		os.Exit(0)
	}()
	if o.alpn == "h3" {
		server := http3.Server{Handler: http.FileServer(http.Dir(o.www))}
		if err := server.ServeListener(listener); err != nil {
			fail(err)
		}
		return
	}
	for {
		connection, err := listener.Accept(context.Background())
		if err != nil {
			return
		}
		go func() {
			for {
				stream, err := connection.AcceptStream(context.Background())
				if err != nil {
					return
				}
				go answer(o, stream)
			}
		}()
	}
}

func answer(o options, stream quic.Stream) {
	request, err := io.ReadAll(io.LimitReader(stream, 4096))
	words := strings.Fields(string(request))
	if err != nil || len(words) < 2 || words[0] != "GET" {
		stream.CancelWrite(1)
		return
	}
	file, err := os.Open(filepath.Join(o.www, filepath.Clean("/"+words[1])))
	if err != nil {
		stream.CancelWrite(1)
		return
	}
	defer file.Close()
	if _, err := io.Copy(stream, file); err == nil {
		stream.Close()
	}
}

func fetch(o options, secure *tls.Config, early bool, paths []string) error {
	var connection quic.Connection
	var err error
	if early {
		connection, err = quic.DialAddrEarly(o.connect, secure, o.transport())
	} else {
		connection, err = quic.DialAddr(o.connect, secure, o.transport())
	}
	if err != nil {
		return err
	}
	defer connection.CloseWithError(0, "")
	var waiting sync.WaitGroup
	faults := make(chan error, len(paths))
	for _, path := range paths {
		stream, err := connection.OpenStreamSync(context.Background())
		if err != nil {
			return err
		}
		if _, err := io.WriteString(stream, "GET "+path+"\r\n"); err != nil {
			return err
		}
		stream.Close()
		waiting.Add(1)
		go func(path string) {
			defer waiting.Done()
			faults <- save(o, path, stream)
		}(path)
	}
	waiting.Wait()
	for range paths {
		if err := <-faults; err != nil {
			return err
		}
	}
	if o.resume || o.early {
		// Tickets come by themselves, without an event.
		time.Sleep(200 * time.Millisecond)
	}
	return nil
}

func save(o options, path string, from io.Reader) error {
	data, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	name := strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "_")
	return os.WriteFile(filepath.Join(o.out, name), data, 0o600)
}

func fetchHTTP3(o options, secure *tls.Config) error {
	round := &http3.RoundTripper{TLSClientConfig: secure, QuicConfig: o.transport()}
	defer round.Close()
	client := http.Client{Transport: round}
	faults := make(chan error, len(o.paths))
	for _, path := range o.paths {
		go func(path string) {
			answer, err := client.Get("https://" + o.connect + path)
			if err != nil {
				faults <- err
				return
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				faults <- errors.New(answer.Status)
				return
			}
			faults <- save(o, path, answer.Body)
		}(path)
	}
	for range o.paths {
		if err := <-faults; err != nil {
			return err
		}
	}
	return nil
}

func dial(o options) error {
	pem, err := os.ReadFile(o.ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	secure := &tls.Config{
		RootCAs:            roots,
		ServerName:         o.name,
		NextProtos:         []string{o.alpn},
		KeyLogWriter:       o.secrets(),
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
	switch {
	case o.alpn == "h3":
		return fetchHTTP3(o, secure)
	case o.many:
		for _, path := range o.paths {
			secure.ClientSessionCache = nil
			if err := fetch(o, secure, false, []string{path}); err != nil {
				return err
			}
		}
		return nil
	case o.resume || o.early:
		if err := fetch(o, secure, false, o.paths[:1]); err != nil {
			return err
		}
		return fetch(o, secure, o.early, o.paths[1:])
	}
	return fetch(o, secure, false, o.paths)
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: quic-peer server|client .."))
	}
	o := parse(os.Args[1], os.Args[2:])
	if os.Args[1] == "server" {
		serve(o)
		return
	}
	if err := dial(o); err != nil {
		fail(err)
	}
}
