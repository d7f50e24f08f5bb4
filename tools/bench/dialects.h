// The dialects that make_dialect chooses from; see tools/bench/dialect.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/bench/dialect.h"

namespace bench {

class FanfareDialect final : public Dialect {
  public:
    std::string_view subprotocol() const override { return "fanfare.v1"; }
    bool is_binary() const override { return false; }
    bool is_stream() const override { return false; }
    // welcome; subscribed, if it subscribes; live, if it resumes.
    uint32_t answers_count(const Role& role, bool resumes) const override {
        return 1U + (role.subscribes ? 1U : 0U) + (resumes ? 1U : 0U);
    }
    void append_opening(std::string& out, uint32_t connection, const Role& role,
                        std::string_view filter, const tools::Cursor* cursor) const override;
    void append_publish(std::string& out, std::string_view topic, uint64_t sequence,
                        std::string_view payload) const override;
    Incoming next(std::string_view& rest) const override;

  private:
    static Incoming other(std::string_view text);
};

class NatsDialect final : public Dialect {
  public:
    std::string_view subprotocol() const override { return ""; }
    bool is_binary() const override { return true; }
    bool is_stream() const override { return true; }
    uint32_t answers_count(const Role&, bool) const override { return 1; }
    void append_opening(std::string& out, uint32_t connection, const Role& role,
                        std::string_view filter, const tools::Cursor* cursor) const override;
    void append_publish(std::string& out, std::string_view topic, uint64_t sequence,
                        std::string_view payload) const override;
    std::string_view pong() const override { return "PONG\r\n"; }
    Incoming next(std::string_view& rest) const override;
};

class NchanDialect final : public Dialect {
  public:
    std::string_view subprotocol() const override { return ""; }
    bool is_binary() const override { return false; }
    bool is_stream() const override { return false; }
    uint32_t answers_count(const Role&, bool) const override { return 0; }
    void append_opening(std::string&, uint32_t, const Role&, std::string_view,
                        const tools::Cursor*) const override {}
    void append_publish(std::string& out, std::string_view topic, uint64_t sequence,
                        std::string_view payload) const override;
    Incoming next(std::string_view& rest) const override;
};

// MQTT 3.1.1, quality of service 0.
class MqttDialect final : public Dialect {
  public:
    explicit MqttDialect(uint64_t seed);
    std::string_view subprotocol() const override { return "mqtt"; }
    bool is_binary() const override { return true; }
    bool is_stream() const override { return true; }
    // CONNACK; SUBACK, if it subscribes.
    uint32_t answers_count(const Role& role, bool) const override {
        return role.subscribes ? 2 : 1;
    }
    void append_opening(std::string& out, uint32_t connection, const Role& role,
                        std::string_view filter, const tools::Cursor* cursor) const override;
    void append_publish(std::string& out, std::string_view topic, uint64_t sequence,
                        std::string_view payload) const override;
    Incoming next(std::string_view& rest) const override;

  private:
    std::string client_prefix_;
};

class TemplateDialect final : public Dialect {
  public:
    explicit TemplateDialect(const Plan& plan);
    std::string_view subprotocol() const override { return ""; }
    bool is_binary() const override { return plan_.is_binary; }
    bool is_stream() const override { return false; }
    uint32_t answers_count(const Role& role, bool resumes) const override;
    void append_opening(std::string& out, uint32_t connection, const Role& role,
                        std::string_view filter, const tools::Cursor* cursor) const override;
    void append_publish(std::string& out, std::string_view topic, uint64_t sequence,
                        std::string_view payload) const override;
    Incoming next(std::string_view& rest) const override;

  private:
    const Plan& plan_;
};

}  // namespace bench
