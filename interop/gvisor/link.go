package main

// A link endpoint over a TUN device: fdbased knows checksum and segmentation offload for sockets only, so this one brings
// what a TUN device can do (virtio_net_hdr). One goroutine reads.

import (
	"encoding/binary"
	"sync"
	"syscall"
	"unsafe"

	"gvisor.dev/gvisor/pkg/bufferv2"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	vnetBytes     = 10
	largest       = 65536 + vnetBytes
	tunSetIff     = 0x400454ca
	tunSetOffload = 0x400454d0
)

type link struct {
	fd         int
	mtu        uint32
	offload    bool
	dispatcher stack.NetworkDispatcher
	out        sync.Mutex
	buffer     []byte
}

// openTun makes the TUN device; it is blocking, as netstack's own reader threads are.
func openTun(offload bool, mtu uint) (*link, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	var request [40]byte
	copy(request[:16], "bench0")
	flags := uint16(0x1001) // IFF_TUN | IFF_NO_PI
	if offload {
		flags |= 0x4000 // IFF_VNET_HDR
	}
	binary.LittleEndian.PutUint16(request[16:], flags)
	if _, _, fault := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), tunSetIff, uintptr(unsafe.Pointer(&request))); fault != 0 {
		return nil, fault
	}
	if offload {
		// Checksums, TSO4, TSO6.
		if _, _, fault := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), tunSetOffload, 7); fault != 0 {
			return nil, fault
		}
	}
	return &link{fd: fd, mtu: uint32(mtu), offload: offload, buffer: make([]byte, largest)}, nil
}

func (l *link) MTU() uint32                             { return l.mtu }
func (l *link) MaxHeaderLength() uint16                 { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress          { return "" }
func (l *link) Wait()                                   {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (l *link) AddHeader(stack.PacketBufferPtr)         {}
func (l *link) IsAttached() bool                        { return l.dispatcher != nil }
func (l *link) GSOMaxSize() uint32                      { return 65535 }

func (l *link) SupportedGSO() stack.SupportedGSO {
	if l.offload {
		return stack.HostGSOSupported
	}
	return stack.GSONotSupported
}

func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	if l.offload {
		// Segments without GSO carry whole checksums: netstack says nothing of them otherwise.
		return stack.CapabilityRXChecksumOffload
	}
	return 0
}

func (l *link) Attach(dispatcher stack.NetworkDispatcher) {
	l.dispatcher = dispatcher
	if dispatcher != nil {
		go l.read()
	}
}

func (l *link) read() {
	buffer := make([]byte, largest)
	front := 0
	if l.offload {
		front = vnetBytes
	}
	for {
		count, err := syscall.Read(l.fd, buffer)
		if err != nil {
			if err == syscall.EINTR {
				continue
			}
			return
		}
		if count <= front {
			continue
		}
		view := bufferv2.NewViewWithData(buffer[front:count])
		var payload bufferv2.Buffer
		payload.Append(view)
		packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
		l.dispatcher.DeliverNetworkPacket(header.IPv4ProtocolNumber, packet)
		packet.DecRef()
	}
}

func (l *link) header(into []byte, packet stack.PacketBufferPtr) {
	for at := range into[:vnetBytes] {
		into[at] = 0
	}
	gso := packet.GSOOptions
	if gso.Type == stack.GSONone {
		return
	}
	binary.LittleEndian.PutUint16(into[2:], uint16(packet.HeaderSize()))
	if gso.NeedsCsum {
		into[0] = 1
		binary.LittleEndian.PutUint16(into[6:], gso.L3HdrLen)
		binary.LittleEndian.PutUint16(into[8:], gso.CsumOffset)
	}
	if packet.Data().Size() > int(gso.MSS) {
		into[1] = 1
		binary.LittleEndian.PutUint16(into[4:], gso.MSS)
	}
}

func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	l.out.Lock()
	defer l.out.Unlock()
	written := 0
	for _, packet := range packets.AsSlice() {
		at := 0
		if l.offload {
			l.header(l.buffer, packet)
			at = vnetBytes
		}
		for _, part := range packet.AsSlices() {
			at += copy(l.buffer[at:], part)
		}
		if _, err := syscall.Write(l.fd, l.buffer[:at]); err != nil {
			return written, &tcpip.ErrNoBufferSpace{}
		}
		written++
	}
	return written, nil
}
