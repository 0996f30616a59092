// gVisor's netstack over a TUN device of its own, as a server and as a client.
//
// A connection begins with one byte that says what it is for: R messages of 1 KiB are answered, S bytes are counted and the
// count comes back, G bytes come until the client goes away, E bytes are echoed until they end, M resident memory.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const message = 1024

func ip(words ...string) error {
	return exec.Command("ip", words...).Run()
}

func netstack(offload bool, mtu uint) (*stack.Stack, error) {
	device, err := openTun(offload, mtu)
	if err != nil {
		return nil, err
	}
	up := fmt.Sprintf("link set bench0 mtu %d txqueuelen 10000 up", mtu)
	for _, words := range []string{"addr add 10.77.0.1/24 dev bench0", up} {
		if err := ip(strings.Fields(words)...); err != nil {
			return nil, err
		}
	}
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	sack := tcpip.TCPSACKEnabled(true)
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	// What sandboxes that use it give it: windows up to 8 MiB.
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 8 << 20}
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &receive)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 8 << 20}
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &send)
	cubic := tcpip.CongestionControlOption("cubic")
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &cubic)
	if err := s.CreateNIC(1, device); err != nil {
		return nil, fmt.Errorf("%s", err)
	}
	address := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.Address(net.IPv4(10, 77, 0, 2).To4()).WithPrefix(),
	}
	if err := s.AddProtocolAddress(1, address, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("%s", err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	return s, nil
}

func resident() uint64 {
	text, _ := os.ReadFile("/proc/self/statm")
	var size, pages uint64
	fmt.Sscan(string(text), &size, &pages)
	return pages * uint64(os.Getpagesize())
}

func serve(conn net.Conn) {
	defer conn.Close()
	var what [1]byte
	if _, err := conn.Read(what[:]); err != nil {
		return
	}
	switch what[0] {
	case 'R':
		buffer := make([]byte, message)
		got := 0
		for {
			count, err := conn.Read(buffer[got:])
			if err != nil {
				return
			}
			if got += count; got == message {
				got = 0
				if _, err := conn.Write(buffer); err != nil {
					return
				}
			}
		}
	case 'S':
		buffer := make([]byte, 256<<10)
		total := uint64(0)
		for {
			count, err := conn.Read(buffer)
			total += uint64(count)
			if err != nil {
				break
			}
		}
		conn.Write(binary.BigEndian.AppendUint64(nil, total))
	case 'G':
		buffer := make([]byte, 256<<10)
		for {
			if _, err := conn.Write(buffer); err != nil {
				return
			}
		}
	case 'E':
		io.Copy(conn, conn)
		conn.(*gonet.TCPConn).CloseWrite()
	case 'M':
		conn.Write(binary.BigEndian.AppendUint64(nil, resident()))
	}
}

func main() {
	if len(os.Args) < 2 || (os.Args[1] != "server" && os.Args[1] != "client") {
		fmt.Fprintln(os.Stderr, "gvisor server [--offload], or gvisor client --connect IP:PORT --case NAME")
		os.Exit(2)
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	offload := flags.Bool("offload", false, "checksum and segmentation offload")
	mtu := flags.Uint("mtu", 1500, "of the device")
	connect := flags.String("connect", "", "where to (client)")
	name := flags.String("case", "echo", "what to do (client)")
	size := flags.Int("bytes", 1<<20, "how much (client)")
	flags.Bool("json", true, "the only form there is")
	flags.String("impl", "gvisor", "")
	flags.String("addr", "", "it has an address of its own")
	flags.Int("buffer", 0, "it tunes its buffers itself")
	flags.Parse(os.Args[2:])
	s, err := netstack(*offload, *mtu)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gvisor:", err)
		os.Exit(1)
	}
	if os.Args[1] == "client" {
		if err := run(s, *connect, *name, *size); err != nil {
			fmt.Fprintln(os.Stderr, "gvisor:", err)
			os.Exit(1)
		}
		return
	}
	listener, err := gonet.ListenTCP(s, tcpip.FullAddress{NIC: 1, Port: 7000}, ipv4.ProtocolNumber)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gvisor:", err)
		os.Exit(1)
	}
	fmt.Println(`{"listening":"10.77.0.2:7000"}`)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	secs := float64(used.Utime.Sec+used.Stime.Sec) + float64(used.Utime.Usec+used.Stime.Usec)/1e6
	fmt.Printf("{\"cpu_s\":%.2f,\"max_rss_kib\":%d}\n", secs, used.Maxrss)
}
