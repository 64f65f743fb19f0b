// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/huin/goupnp"
)

// parseDescription reads a description of bounded length that came from at.
func parseDescription(body []byte, at *url.URL) (*goupnp.RootDevice, error) {
	if len(body) > maxBody {
		return nil, fmt.Errorf("%w: description of %d bytes", ErrUnusable, len(body))
	}
	dec := xml.NewDecoder(bytes.NewReader(body))
	dec.DefaultSpace = goupnp.DeviceXMLNamespace
	// What matters in it is ASCII in every charset that routers claim to use.
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	root := new(goupnp.RootDevice)
	if err := dec.Decode(root); err != nil {
		return nil, fmt.Errorf("%w: description: %w", ErrUnusable, err)
	}
	base := at
	if root.URLBaseStr != "" {
		u, err := url.Parse(root.URLBaseStr)
		if err != nil || u.Host == "" {
			return nil, errors.Join(fmt.Errorf("%w: base of the description", ErrUnusable), err)
		}
		base = u
	}
	root.SetURLBase(base)
	return root, nil
}
