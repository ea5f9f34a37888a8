# What `make install` puts where, and `make uninstall` takes away: the library with its headers, the command with manual pages and
# completion, and what pkg-config and CMake ask for. Included by the Makefile.
BINDIR  := $(PREFIX)/bin
LIBDIR  ?= $(PREFIX)/lib
MANDIR  := $(PREFIX)/share/man/man1
BASHDIR := $(PREFIX)/share/bash-completion/completions
ZSHDIR  := $(PREFIX)/share/zsh/site-functions
INSTALL_HEADERS := runtime/tine.h
# CMake's package finds the header from where it lies itself, so that the installed tree can be moved.
TEMPLATE = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@LIBS@|$(PKG_LIBS)|' \
  -e "s|@INCLUDE@|$$(realpath -m --relative-to=$(LIBDIR)/cmake/tine $(PREFIX)/include)|"
# Where the loader looks, if its cache knows what is there.
SYSTEM_PREFIXES := / /usr /usr/local
LDCONFIG ?= /sbin/ldconfig

# A page for the command and each subcommand, from the tables that their options are parsed with.
$(BUILD)/man/done: $(BUILD)/tine
	@rm -rf $(@D) && mkdir -p $(@D)
	@set -e; page() { $(BUILD)/tine "$$@" --help=man >"$(@D)/$$(echo tine "$$@" | tr ' ' -).1"; }; page; \
	for c in $$($(BUILD)/tine --help=words); do [ "$$c" = version ] || page "$$c"; done; \
	for c in $$($(BUILD)/tine bench --help=words); do page bench "$$c"; done
	@touch $@
man: $(BUILD)/man/done ## the manual pages, in build/man
	@echo "$(BUILD)/man"

install: all $(BUILD)/man/done ## install to PREFIX (/usr/local), under DESTDIR
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBDIR)/pkgconfig $(LIBDIR)/cmake/tine $(LIBDIR)/tine $(PREFIX)/include \
	  $(MANDIR) $(BASHDIR) $(ZSHDIR))
	install -m 755 $(BUILD)/tine $(DESTDIR)$(BINDIR)/tine
	install -m 644 $(INSTALL_HEADERS) $(DESTDIR)$(PREFIX)/include
	install -m 644 $(BUILD)/libtine.a $(DESTDIR)$(LIBDIR)/libtine.a
	install -m 755 $(BUILD)/libtine.so $(DESTDIR)$(LIBDIR)/libtine.so.$(VERSION)
	ln -sf libtine.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libtine.so.0
	ln -sf libtine.so.0 $(DESTDIR)$(LIBDIR)/libtine.so
	for m in $(wildcard $(BUILD)/libtine-*.so); do install -m 755 $$m $(DESTDIR)$(LIBDIR)/tine/; done
	$(TEMPLATE) launch/install/tine.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/tine.pc
	$(TEMPLATE) launch/install/tineConfig.cmake.in >$(DESTDIR)$(LIBDIR)/cmake/tine/tineConfig.cmake
	$(TEMPLATE) launch/install/tineConfigVersion.cmake.in >$(DESTDIR)$(LIBDIR)/cmake/tine/tineConfigVersion.cmake
	install -m 644 $(BUILD)/man/*.1 $(DESTDIR)$(MANDIR)
	install -m 644 launch/install/tine.bash $(DESTDIR)$(BASHDIR)/tine
	install -m 644 launch/install/_tine $(DESTDIR)$(ZSHDIR)/_tine
	$(if $(DESTDIR),,$(if $(filter $(PREFIX),$(SYSTEM_PREFIXES)),[ "$$(id -u)" != 0 ] || $(LDCONFIG)))

uninstall: ## remove what `make install` with the same PREFIX and DESTDIR has put there
	rm -f $(addprefix $(DESTDIR),$(BINDIR)/tine $(LIBDIR)/libtine.a $(LIBDIR)/libtine.so $(LIBDIR)/libtine.so.0 \
	  $(LIBDIR)/libtine.so.$(VERSION) $(LIBDIR)/pkgconfig/tine.pc $(MANDIR)/tine.1 $(BASHDIR)/tine $(ZSHDIR)/_tine \
	  $(addprefix $(PREFIX)/include/,$(notdir $(INSTALL_HEADERS))))
	rm -f $(DESTDIR)$(MANDIR)/tine-*.1 $(DESTDIR)$(LIBDIR)/tine/libtine-*.so $(DESTDIR)$(LIBDIR)/cmake/tine/tineConfig*.cmake
	-@for d in $(addprefix $(DESTDIR),$(LIBDIR)/tine $(LIBDIR)/cmake/tine $(LIBDIR)/pkgconfig $(BINDIR) $(PREFIX)/include $(MANDIR) \
	  $(BASHDIR) $(ZSHDIR)); do [ ! -d $$d ] || rmdir --ignore-fail-on-non-empty -p $$d; done
	$(if $(DESTDIR),,$(if $(filter $(PREFIX),$(SYSTEM_PREFIXES)),[ "$$(id -u)" != 0 ] || $(LDCONFIG)))

# ---- Debian packages ----

# What BUILD has, under Debian's paths. debian/ is generated beside the packages; the tree is not touched.
DEB := $(abspath $(BUILD))/deb
MAINTAINER ?= $(or $(shell git log -1 --format='%an <%ae>' 2>/dev/null),Tine <root@localhost>)
deb: all $(BUILD)/man/done ## libtine0, libtine-dev and tine as Debian packages, in build/deb
	@command -v dh >/dev/null || { echo "make deb needs debhelper: apt-get install debhelper" >&2; exit 1; }
	rm -rf $(DEB) && mkdir -p $(DEB)/tine/debian/source
	cp launch/install/debian/rules launch/install/debian/*.install $(DEB)/tine/debian
	for f in control copyright changelog; do sed -e "s|@MAINTAINER@|$(MAINTAINER)|" -e "s|@VERSION@|$(VERSION)|" \
	  -e "s|@DATE@|$$(date -R)|" -e "s|@YEAR@|$$(date +%Y)|" launch/install/debian/$$f.in >$(DEB)/tine/debian/$$f; done
	echo "3.0 (native)" >$(DEB)/tine/debian/source/format
	cd $(DEB)/tine && TINE_SOURCE=$(CURDIR) TINE_BUILD=$(BUILD) DEB_BUILD_OPTIONS=noautodbgsym \
	  dpkg-buildpackage -d -b -us -uc
	@ls $(DEB)/*.deb
.PHONY: man install uninstall deb
