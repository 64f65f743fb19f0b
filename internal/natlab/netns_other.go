// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

//go:build !linux

package natlab

import (
	"errors"
	"os"
	"os/exec"
)

// netns does not exist here: Need skips before anybody asks for one.
type netns struct{}

var errNone = errors.New("natlab: network namespaces are Linux's")

func newNetns() (*netns, error)                   { return nil, errNone }
func (*netns) close()                             {}
func (*netns) path() string                       { return "" }
func (*netns) do(func() error) error              { return errNone }
func (*netns) run(_, _ string, _ ...string) error { return errNone }
func (*netns) ip(...string) error                 { return errNone }
func (*netns) sysctl(...string) error             { return errNone }
func (*netns) unfiltered() error                  { return errNone }
func (*netns) number(string) (int, error)         { return 0, errNone }
func (*netns) tun(string) (*os.File, error)       { return nil, errNone }
func (*netns) flush() error                       { return errNone }
func (*netns) command(cmd *exec.Cmd)              { cmd.Err = errNone }
func obstacle() string                            { return "network namespaces are Linux's" }

func tool(string) (string, error) { return "", errNone }
