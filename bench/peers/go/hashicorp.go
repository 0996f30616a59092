//go:build hashicorp

package main

import (
	"io"
	"net"

	"github.com/hashicorp/yamux"
)

const name = "hashicorp"

type session struct{ *yamux.Session }

func config() *yamux.Config {
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	return config
}

func client(tcp net.Conn) (session, error) {
	s, err := yamux.Client(tcp, config())
	return session{s}, err
}

func server(tcp net.Conn) (session, error) {
	s, err := yamux.Server(tcp, config())
	return session{s}, err
}

func (s session) open() (net.Conn, error)   { return s.Session.OpenStream() }
func (s session) accept() (net.Conn, error) { return s.Session.AcceptStream() }
