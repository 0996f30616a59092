//go:build libp2p

package main

import (
	"context"
	"io"
	"net"

	"github.com/libp2p/go-yamux/v5"
)

const name = "go-yamux"

type session struct{ *yamux.Session }

func config() *yamux.Config {
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	// The default, 1,000 at once, is less than the idle streams of the work; nothing else differs from the default.
	config.MaxIncomingStreams = 20000
	return config
}

func client(tcp net.Conn) (session, error) {
	s, err := yamux.Client(tcp, config(), nil)
	return session{s}, err
}

func server(tcp net.Conn) (session, error) {
	s, err := yamux.Server(tcp, config(), nil)
	return session{s}, err
}

func (s session) open() (net.Conn, error)   { return s.Session.OpenStream(context.Background()) }
func (s session) accept() (net.Conn, error) { return s.Session.AcceptStream() }
